// Tables for those who have no mouse: arrows choose a row, Enter on a heading sorts, Tab goes on to
// what comes next instead of through every cell.
const within = (view) => [view, ...(view.child_views ?? []).flatMap(within)]
const withKeys = ({grid, el, shadow_el}) => {
  const headings = [...shadow_el.querySelectorAll(".slick-header-column")]
  for (const heading of headings) {
    heading.tabIndex = 0
    heading.setAttribute("role", "button")
  }
  el.addEventListener("keydown", (event) => {
    const heading = headings.find((each) => event.composedPath().includes(each))
    const pressed = event.key === "Enter" || event.key === " "
    if (heading !== undefined && pressed) heading.click()
    else if (heading === undefined && event.key === "ArrowDown" && grid.getActiveCell() === null) grid.setActiveCell(0, 0)
    else if (event.key !== "Tab") return
    event.stopPropagation()
    if (event.key !== "Tab") event.preventDefault()
  }, {capture: true})
}
