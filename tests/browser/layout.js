// How the panel lies in the page: what is cut off, what overlaps, what stands outside.
() => {
  const box = e => e.getBoundingClientRect()
  const panel = document.querySelector('.nst-panel'), outer = box(panel)
  const visible = e => box(e).width > 1 && getComputedStyle(e).clipPath == 'none'
  const all = selector => [...panel.querySelectorAll(selector)].filter(visible)
  const apart = (a, b) =>
    a.right <= b.left + 1 || b.right <= a.left + 1 || a.bottom <= b.top + 1 || b.bottom <= a.top + 1
  const overlaps = selector => {
    const found = all(selector)
    return found.flatMap((a, i) => found.slice(i + 1).filter(b => !apart(box(a), box(b))).map(b => [a, b]))
  }
  const groups = [
    '.nst-value, .nst-what',
    '.nst-bar button, .nst-bar select',
    '.nst-knobs input, .nst-knobs .widget-label',
    '.nst-setup input, .nst-setup select, .nst-setup button',
  ]
  const parts = all('button, select, input, .noUi-handle, .nst-value, .nst-what, .widget-label')
  return {
    width: outer.width,
    stage: box(panel.querySelector('.nst-stage')).width,
    columns: getComputedStyle(panel.querySelector('.nst-main')).gridTemplateColumns.split(' ').length,
    cut: all('*').filter(e => getComputedStyle(e).overflowX != 'visible' && e.scrollWidth > e.clientWidth + 1)
      .map(e => e.className),
    overlaps: groups.flatMap(overlaps).map(pair => pair.map(e => e.outerHTML).join(' over ')),
    outside: parts.filter(e => box(e).left < outer.left || box(e).right > outer.right + 1).map(e => e.outerHTML),
  }
}
