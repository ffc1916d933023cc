// Draw what there is to explore, and let keys and screen readers do all that a mouse can.
{
  const within = (view) => [view, ...(view.child_views ?? []).flatMap(within)]

  const clamp = (value, most) => Math.min(Math.max(value, 0), most)

  // A table is one stop of Tab: arrows, Page Up and Down, Home and End choose a row, above the first one a
  // heading, by which Enter sorts; on a row, Enter goes to what is drawn of it, left and right to hidden columns.
  const byKeys = ({grid, model, shadow_el}, name, open) => {
    const body = shadow_el.querySelector(".bk-data-table")
    const headings = [...body.querySelectorAll(".slick-header-left .slick-header-column")]
    for (const each of body.querySelectorAll("[tabindex]")) {
      each.tabIndex = -1
      each.focus = () => {}  // the grid takes the focus back to a chosen row whenever rows change
    }
    body.tabIndex = 0
    body.setAttribute("role", "grid")
    body.setAttribute("aria-label", name)
    for (const each of headings) {
      each.tabIndex = -1
      each.setAttribute("role", "columnheader")
    }
    grid.onSort.subscribe(() => grid.getColumns().forEach(({id}, i) => {
      const by = grid.getSortColumns().find(({columnId}) => columnId === id)
      headings[i].setAttribute("aria-sort", by === undefined ? "none" : by.sortAsc ? "ascending" : "descending")
    }))
    const choose = (to, column = 0) => {
      const last = grid.getDataLength() - 1
      if (last < 0) return
      const row = clamp(to, last)
      grid.setActiveCell(row, clamp(column, headings.length - 1))
      const shown = grid.getActiveCellNode().parentNode
      const texts = [...shown.children].map((cell, i) => `${headings[i].innerText.trim()} ${cell.innerText}`)
      for (const each of body.querySelectorAll("#chosen")) each.removeAttribute("id")
      shown.id = "chosen"
      shown.setAttribute("role", "row")
      shown.setAttribute("aria-label", `${texts.join(", ")}; row ${row + 1} of ${last + 1}`)
      body.setAttribute("aria-activedescendant", "chosen")
      body.focus()
    }
    const head = (column) => {
      grid.scrollCellIntoView(grid.getViewport().top, column)  // headings move with the rows
      headings[column].focus({preventScroll: true})
    }
    const rows = (event) => {
      const {row: at, cell} = grid.getActiveCell() ?? {row: -1, cell: 0}
      const page = Math.floor(model.height / grid.getOptions().rowHeight) - 2
      const to = {ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: Math.max(at - page, 0), Home: 0, End: Infinity}
      const side = {ArrowLeft: cell - 1, ArrowRight: cell + 1}
      if (event.key === "Enter" && at >= 0) open()
      else if (event.key in side) choose(at, side[event.key])
      else if (!(event.key in to)) return false
      else if (event.key === "ArrowUp" && at <= 0) head(cell)
      else choose(to[event.key], cell)
      return true
    }
    const columns = (event, at) => {
      const to = {ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: headings.length - 1}
      if (event.key === "Enter" || event.key === " ") {
        headings[at].click()
        head(at)
      } else if (event.key === "ArrowDown") choose(grid.getActiveCell()?.row ?? 0)
      else if (!(event.key in to)) return false
      else head(clamp(to[event.key], headings.length - 1))
      return true
    }
    body.addEventListener("keydown", (event) => {
      const at = headings.indexOf(event.target)
      if (at >= 0 ? columns(event, at) : rows(event)) event.preventDefault()
      event.stopPropagation()
    }, {capture: true})
  }

  const place = document.getElementById("explorer")
  place.hidden = false
  Bokeh.embed.embed_item(JSON.parse(document.getElementById("explorer-content").textContent)).then((roots) => {
    const views = [...roots].flatMap(within)
    const next = views.find(({model}) => model.tags.includes("of row"))
    const open = () => {
      next?.el.scrollIntoView({block: "start"})
      next?.input_el.focus({preventScroll: true})
    }
    for (const view of views) {
      const {model, el, shadow_el} = view
      if (view.grid) byKeys(view, model.name, open)
      else if (model.type === "Div") el.setAttribute("role", "status")
      else if (model.type === "Slider") shadow_el.querySelector(".noUi-handle").setAttribute("aria-label", model.title)
      // Toolbars are drawn again when their place changes, so their buttons are named when they are reached.
      else if (model.type === "Figure") el.addEventListener("focusin", (event) => {
        const [at] = event.composedPath()
        at.setAttribute("role", at.title ? "button" : "img")
        at.setAttribute("aria-label", at.title || model.name)
      })
    }
  })
}
