// Which rows are shown: those that name what is sought, with values at or above every slider, and at
// or below every ceiling.
const rows = source.data[names[0]].length
const sought = search.value_input.trim().toUpperCase()
const texts = names.map((name) => source.data[name])
const is = (text) => text.toUpperCase() === sought
const has = (text) => text.toUpperCase().includes(sought)
const matches = texts.some((column) => Array.from(column).some(is)) ? is : has
const shown = new Array(rows)
const passing = new Array(rows)
let n = 0
for (let i = 0; i < rows; i++) {
  passing[i] = Object.entries(sliders).every(([name, slider]) => !(source.data[name][i] < slider.value))
    && Object.entries(ceilings).every(([name, slider]) => !(source.data[name][i] > slider.value))
  shown[i] = passing[i] && (sought === "" || texts.some((column) => matches(column[i])))
  if (shown[i]) n++
}
filter.booleans = shown
passed.booleans = passing
count.text = n === 0 ? "No row is left: search for something else, or lower a threshold."
                     : `${n.toLocaleString("en")} of ${rows.toLocaleString("en")} rows are shown.`
