// Save the rows that are shown as a table. A name that a spreadsheet would run gets a quote before it.
const cell = (value) => {
  if (typeof value === "number") return Number.isNaN(value) ? "" : String(value)
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
const names = columns.filter((name) => name in source.data)
const lines = [names.join(",")]
source.data[names[0]].forEach((_, i) => {
  if (filter.booleans === null || filter.booleans[i]) {
    lines.push(names.map((name) => cell(source.data[name][i])).join(","))
  }
})
const link = document.createElement("a")
link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], {type: "text/csv"}))
link.download = file
link.click()
URL.revokeObjectURL(link.href)
