// Draw what there is to explore, and let keys and screen readers do all that a mouse can.
{
  const within = (view) => [view, ...(view.child_views ?? []).flatMap(within)]

  // A table is one stop of Tab: arrows, Page Up and Down, Home and End choose a row, above the first one a
  // heading, by which Enter sorts; on a row, Enter goes to what is drawn of it.
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
    const choose = (row) => {
      const last = grid.getDataLength() - 1
      if (last < 0) return
      row = Math.min(Math.max(row, 0), last)
      grid.setActiveCell(row, 0)
      const shown = grid.getActiveCellNode().parentNode
      const texts = [...shown.children].map((cell, i) => `${headings[i].innerText.trim()} ${cell.innerText}`)
      for (const each of body.querySelectorAll("#chosen")) each.removeAttribute("id")
      shown.id = "chosen"
      shown.setAttribute("role", "row")
      shown.setAttribute("aria-label", `${texts.join(", ")}; row ${row + 1} of ${last + 1}`)
      body.setAttribute("aria-activedescendant", "chosen")
      body.focus()
    }
    const rows = (event) => {
      const at = grid.getActiveCell()?.row ?? -1
      const page = Math.floor(model.height / grid.getOptions().rowHeight) - 2
      const to = {ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: Math.max(at - page, 0), Home: 0, End: Infinity}
      if (event.key === "Enter" && at >= 0) open()
      else if (!(event.key in to)) return false
      else if (event.key === "ArrowUp" && at <= 0) headings[0].focus()
      else choose(to[event.key])
      return true
    }
    const columns = (event, at) => {
      const to = {ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: headings.length - 1}
      if (event.key === "Enter" || event.key === " ") {
        headings[at].click()
        headings[at].focus()
      } else if (event.key === "ArrowDown") choose(grid.getActiveCell()?.row ?? 0)
      else if (!(event.key in to)) return false
      else headings[Math.min(Math.max(to[event.key], 0), headings.length - 1)].focus()
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
