// Draw the first edges from and to one gene, the regulators that act on most of the genes that these reach, and the
// edges among all of them. Rows come strongest first.
const {source: from, target: to, weight} = source.data
const centre = field.value
const passes = (i) => passing.booleans === null || passing.booleans[i]
const near = []
for (let i = 0; i < from.length && near.length < most; i++) {
  if ((from[i] === centre || to[i] === centre) && passes(i)) near.push(i)
}
const others = [...new Set(near.flatMap((i) => [from[i], to[i]]))].filter((name) => name !== centre)
const inside = new Set(others)
const acts = new Map()
for (let i = 0; i < from.length; i++) {
  if (inside.has(to[i]) && !inside.has(from[i]) && from[i] !== centre && passes(i)) acts.set(from[i], (acts.get(from[i]) ?? 0) + 1)
}
const along = [...acts].filter(([, n]) => n > 1).sort(([, a], [, b]) => b - a).slice(0, companions).map(([name]) => name)
const beside = new Set(along)
others.push(...along)
along.forEach((name) => inside.add(name))
const among = []
for (let i = 0; i < from.length && among.length < 2 * most; i++) {
  if (inside.has(from[i]) && inside.has(to[i]) && passes(i)) among.push(i)
}
const at = new Map([[centre, [0, 0]]])
others.forEach((name, k) => {
  const angle = 2 * Math.PI * k / others.length
  at.set(name, [Math.cos(angle), Math.sin(angle)])
})
const largest = Math.max(...near.concat(among).map((i) => Math.abs(weight[i])), 1e-30)
const arrows = (sign) => {
  const data = {xs: [], ys: [], xe: [], ye: [], width: [], alpha: []}
  for (const i of near.concat(among)) {
    if (Math.sign(weight[i]) !== sign) continue
    const [[x0, y0], [x1, y1]] = [at.get(from[i]), at.get(to[i])]
    const length = Math.hypot(x1 - x0, y1 - y0)
    if (length === 0) continue
    const [dx, dy] = [(x1 - x0) / length, (y1 - y0) / length]
    // Both directions of a pair are drawn beside each other, and ends keep clear of names.
    data.xs.push(x0 + .08 * dx - .02 * dy); data.ys.push(y0 + .08 * dy + .02 * dx)
    data.xe.push(x1 - .08 * dx - .02 * dy); data.ye.push(y1 - .08 * dy + .02 * dx)
    data.width.push(1 + 3 * Math.abs(weight[i]) / largest)
    data.alpha.push(inside.has(from[i]) && inside.has(to[i]) ? .35 : .9)
  }
  return data
}
up.data = arrows(1)
down.data = arrows(-1)
const names = [centre, ...others].filter((name) => name !== "")
nodes.data = {
  marker: names.map((name) => beside.has(name) ? "square" : "circle"),
  x: names.map((name) => at.get(name)[0]), y: names.map((name) => at.get(name)[1]), name: names,
  lx: names.map((name) => 1.09 * at.get(name)[0]), ly: names.map((name) => 1.09 * at.get(name)[1] + (name === centre ? .12 : 0)),
  align: names.map((name) => Math.abs(at.get(name)[0]) < .2 ? "center" : at.get(name)[0] > 0 ? "left" : "right"),
}
const escaped = (name) => name.replaceAll("&", "&amp;").replaceAll("<", "&lt;")
const who = escaped(centre)
summary.text = near.length === 0 ? `No edge of ${who} passes the sliders.`
  : `${who}: its ${near.length} first edges, and ${among.length} among the genes that are shown (pale).`
    + (along.length === 0 ? "" : ` Squares act on several of the same genes: ${along.map(escaped).join(", ")}.`)
