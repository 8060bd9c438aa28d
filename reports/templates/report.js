// What every report does in the page: it draws the figures in the colours of the theme, and it makes tables that sort,
// filter, copy themselves as CSV and highlight together with the figures. A page's own script builds on `Roofline`.
'use strict';
const Roofline = (() => {
  const parse = (id) => JSON.parse(document.getElementById(id).textContent);
  const specs = parse('roofline-figures'); // id -> {data, layout}; a page's script may change it, then draw(id)
  const data = parse('roofline-data');
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // --- numbers as people read them: the twins of roofline/units.py ---------------------------------------------------

  const significant = (value, digits = 3) => {
    if (value === 0 || !Number.isFinite(value)) return String(value);
    const decimals = Math.min(100, Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(value)))));
    const scaled = Math.abs(value) * 10 ** decimals;
    let text = value.toFixed(decimals);
    if (scaled % 1 === 0.5 && scaled < 2 ** 52) { // Python rounds halves to even
      text = (Math.sign(value) * 2 * Math.round(scaled / 2) / 10 ** decimals).toFixed(decimals);
    }
    return text.includes('.') ? text.replace(/0+$/, '').replace(/\.$/, '') : text;
  };
  const PREFIXES = [[1e15, 'P'], [1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']];
  const si = (value, unit = '', digits = 3) => {
    const [scale, prefix] = PREFIXES.find(([s]) => Math.abs(value) >= s * (1 - 0.5 * 10 ** -digits)) ?? [1, ''];
    return `${significant(value / scale, digits)} ${prefix}${unit}`.trimEnd();
  };
  const DURATIONS = [[1, 1, 's'], [1e-4, 1e-3, 'ms'], [1e-7, 1e-6, 'µs'], [1e-300, 1e-9, 'ns']];
  const seconds = (value) => {
    const [, step, unit] = DURATIONS.find(([from]) => Math.abs(value) >= from) ?? [1, 1, 's'];
    return `${value ? significant(value / step) : 0} ${unit}`;
  };
  const percent = (share) => {
    if (share > 0 && share <= 0.005) return '<1 %';
    if (share >= 0.995 && share < 1) return '>99 %';
    const points = share * 100;
    return `${points % 1 === 0.5 ? 2 * Math.round(points / 2) : points.toFixed(0)} %`;
  };
  // plotly takes some tags and entities in its labels for markup
  const escape = (text) => String(text).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
  const card = (title, lines) => [`<b>${escape(title)}</b>`, ...lines.map(escape)].join('<br>');
  const announce = (text) => { document.getElementById('status').textContent = text; };

  // --- figures --------------------------------------------------------------------------------------------------------

  const BUTTONS = [['toImage'], ['zoom2d', 'pan2d', 'resetScale2d']];
  const PRINTED_PX = 690; // the width of A4 less its margins
  const touch = matchMedia('(pointer: coarse)').matches; // a finger on a chart scrolls the page
  const element = (id) => document.getElementById(`plot-${id}`);

  const resolved = (value, style) => {
    if (typeof value === 'string') {
      const name = /^var\((--[a-z0-9-]+)\)$/.exec(value)?.[1]; // a name within some other text is a layer's own
      return name ? style.getPropertyValue(name).trim() || value : value;
    }
    if (Array.isArray(value)) return value.map((item) => resolved(item, style));
    if (value && typeof value === 'object') {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, resolved(item, style)]));
    }
    return value;
  };

  let printing = false;
  let themeBefore; // the one chosen, while the page is printed
  const preparations = {};
  const beforeDraw = (id, prepare) => { preparations[id] = prepare; }; // prepare(width) may change the spec

  const drawNow = (id) => {
    const place = element(id);
    stale.delete(id);
    if (!place || !window.Plotly) return;
    const width = printing ? PRINTED_PX : place.clientWidth;
    preparations[id]?.(width);
    const { data: traces, layout } = resolved(specs[id], getComputedStyle(root));
    const first = !place.classList.contains('js-plotly-plot');
    const isTree = traces[0]?.type === 'icicle';
    Plotly.react(
      place, traces, { ...layout, width, height: place.clientHeight, dragmode: touch ? false : layout.dragmode ?? 'zoom' },
      { displaylogo: false, modeBarButtons: isTree ? BUTTONS.slice(0, 1) : BUTTONS },
    );
    drawnAt.set(place, width);
    if (first) listen(place, id);
  };

  // A figure out of sight waits until the reader comes near it.
  const stale = new Set();
  const near = new Set();
  const observer = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const id = target.dataset.figure;
      near[isIntersecting ? 'add' : 'delete'](id);
      if (isIntersecting && stale.has(id)) drawNow(id);
    }
  }, { rootMargin: '400px' });
  const drawnAt = new WeakMap();
  const resizer = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (drawnAt.has(target) && !printing && drawnAt.get(target) !== target.clientWidth) draw(target.dataset.figure);
    }
  });
  const draw = (id) => {
    if (near.has(id)) drawNow(id);
    else stale.add(id);
  };
  const drawAll = () => Object.keys(specs).forEach(draw);
  const drawHidden = () => [...stale].forEach(drawNow);

  // --- one item, highlighted everywhere: points whose customdata is its number, rows whose data-item is it --------------

  let current = null;
  let pinned = null;
  let echo = false; // a hover that this script made is not one of the reader's
  const watchers = [];
  const onHighlight = (watcher) => watchers.push(watcher);

  const pointsOf = (id, item) => specs[id].data.flatMap((trace, curveNumber) => {
    const pointNumber = (trace.customdata ?? []).indexOf(item);
    return pointNumber < 0 || trace.visible === 'legendonly' || trace.visible === false ? [] : [{ curveNumber, pointNumber }];
  });

  const show = (item, source) => {
    for (const id of Object.keys(specs)) {
      const place = element(id);
      if (!place?.classList.contains('js-plotly-plot')) continue;
      mark(place, id, item);
      if (id === source) continue;
      const points = item === null ? [] : pointsOf(id, item).filter(({ curveNumber }) => specs[id].data[curveNumber].type !== 'icicle');
      echo = true;
      try {
        if (points.length) Plotly.Fx.hover(place, points, place._fullLayout._plots ? Object.keys(place._fullLayout._plots) : ['xy']);
        else Plotly.Fx.unhover(place);
      } finally { echo = false; }
    }
    for (const row of all('tr.is-linked')) row.classList.remove('is-linked', 'is-pinned');
    if (item !== null) {
      for (const row of all(`table[data-linked] tr[data-item="${item}"]`)) {
        row.classList.add('is-linked');
        row.classList.toggle('is-pinned', item === pinned);
      }
    }
    for (const watcher of watchers) watcher(item);
  };

  // A ring round the item's dot, at the end of its bar, or round its box: elements over the figure, since drawing the
  // figure itself again would take too long while a pointer moves.
  const mark = (place, id, item) => {
    const points = item === null ? [] : pointsOf(id, item);
    const isTree = specs[id].data[0]?.type === 'icicle';
    for (const box of all('g.slice', place)) {
      box.classList.toggle('is-linked', isTree && points.length > 0 && box.__data__?.data?.data?.i === points[0].pointNumber);
    }
    all(':scope > .ring', place).forEach((ring) => ring.remove());
    for (const { curveNumber, pointNumber } of isTree ? [] : points) {
      const trace = place._fullData[curveNumber];
      const [x, y] = ['x', 'y'].map((letter) => place._fullLayout[(trace[`${letter}axis`] ?? letter).replace(letter, `${letter}axis`)]);
      if (!x?.d2p || !y?.d2p) continue;
      const along = trace.orientation === 'h' ? trace.base?.[pointNumber] ?? 0 : 0;
      const up = trace.orientation === 'v' ? trace.base?.[pointNumber] ?? 0 : 0;
      const [left, top] = [x.d2p(trace.x[pointNumber] + along), y.d2p(trace.y[pointNumber] + up)];
      if (!(left > -9 && left < x._length + 9 && top > -9 && top < y._length + 9)) continue; // zoomed out of sight
      const ring = document.createElement('span');
      ring.className = `ring is-${trace.type}`;
      ring.style.left = `${x._offset + left}px`;
      ring.style.top = `${y._offset + top}px`;
      place.append(ring);
    }
  };

  let waiting = null;
  const highlight = (item, source = '') => {
    if (waiting === null) requestAnimationFrame(() => { const [i, s] = waiting; waiting = null; if (i !== current) { current = i; show(i, s); } });
    waiting = [item ?? pinned, source];
  };
  const pin = (item, source = '') => {
    pinned = item === pinned ? null : item;
    current = undefined; // drawn again, with or without the pin
    highlight(item, source);
  };

  const itemOf = (event) => {
    const value = event.points?.[0]?.customdata;
    return typeof value === 'number' ? value : null;
  };
  const listen = (place, id) => {
    place.on('plotly_hover', (event) => { if (!echo) highlight(itemOf(event), id); });
    place.on('plotly_afterplot', () => mark(place, id, current ?? null));
    place.on('plotly_unhover', () => { if (!echo) highlight(null, id); });
    place.on('plotly_click', (event) => {
      const item = itemOf(event);
      if (item === null || echo) return;
      pin(item, id);
      const row = document.querySelector(`table[data-linked] tr[data-item="${item}"]`);
      const scroller = row?.closest('.tall > .scroller');
      if (scroller) scroller.scrollTop = row.offsetTop - scroller.clientHeight / 2; // the page itself stays where it is
    });
  };

  // --- tables ---------------------------------------------------------------------------------------------------------

  const cellValue = (row, column) => {
    const cell = row.cells[column];
    const value = cell.dataset.value ?? cell.textContent.trim();
    const number = Number(value);
    return value !== '' && !Number.isNaN(number) ? number : value;
  };
  const compare = (a, b) => (typeof a === 'number' && typeof b === 'number' ? a - b
    : String(a).localeCompare(String(b), 'en', { numeric: true }));

  const sort = (table, column, direction) => {
    const body = table.tBodies[0];
    const sign = direction === 'ascending' ? 1 : -1;
    const rows = [...body.rows].map((row) => [cellValue(row, column), row]);
    rows.sort(([a], [b]) => sign * compare(a, b)); // stable: ties keep the order they had
    body.append(...rows.map(([, row]) => row));
    for (const [i, heading] of [...table.tHead.rows[0].cells].entries()) {
      if (i === column) heading.setAttribute('aria-sort', direction);
      else heading.removeAttribute('aria-sort');
    }
  };

  const filter = (table) => {
    const words = (document.querySelector(`[data-search="${table.id}"]`)?.value ?? '').toLowerCase().split(/\s+/).filter(Boolean);
    const choices = all(`[data-choice="${table.id}"]`).filter((choice) => choice.value);
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      const fits = words.every((word) => text.includes(word))
        && choices.every((choice) => row.cells[choice.dataset.column].textContent === choice.value);
      row.hidden = !fits;
      shown += fits;
    }
    const count = document.querySelector(`[data-count="${table.id}"]`);
    if (count) count.textContent = `${shown} of ${table.tBodies[0].rows.length}`;
  };

  const csv = (table) => {
    const quoted = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
    const lines = [[...table.tHead.rows[0].cells].map((heading) => heading.dataset.key)];
    for (const row of table.tBodies[0].rows) {
      if (!row.hidden) lines.push([...row.cells].map((cell) => cell.dataset.value ?? cell.textContent.trim()));
    }
    return lines.map((line) => line.map(quoted).join(',')).join('\n') + '\n';
  };

  const copy = async (button) => {
    const table = document.getElementById(button.dataset.copy);
    const text = csv(table);
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch { // an old browser, or one that does not trust files
      const area = document.createElement('textarea');
      area.value = text;
      document.body.append(area);
      area.select();
      done = document.execCommand('copy');
      area.remove();
      button.focus();
    }
    const label = button.dataset.label ??= button.textContent;
    button.textContent = done ? 'Copied' : 'Could not copy';
    announce(done ? `Copied ${text.split('\n').length - 2} rows as CSV` : 'The browser did not let the page copy');
    setTimeout(() => { button.textContent = label; }, 2000);
  };

  const prepare = (table) => {
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      heading.querySelector('button')?.addEventListener('click', () => {
        const first = heading.classList.contains('number') ? 'descending' : 'ascending';
        const other = first === 'ascending' ? 'descending' : 'ascending';
        const direction = heading.getAttribute('aria-sort') === first ? other : first;
        sort(table, column, direction);
        announce(`Sorted by ${heading.textContent.trim()}, ${direction}`);
      });
    });
    if (!('linked' in table.dataset)) return;
    const rowOf = (event) => event.target.closest?.('tr[data-item]');
    const body = table.tBodies[0];
    const focusable = (row) => { for (const other of body.rows) other.tabIndex = other === row ? 0 : -1; };
    if (body.rows.length) focusable(body.rows[0]); // one stop for Tab; arrows go from row to row
    body.addEventListener('mouseover', (event) => { const row = rowOf(event); if (row) highlight(Number(row.dataset.item)); });
    body.addEventListener('mouseleave', () => highlight(null));
    body.addEventListener('focusin', (event) => { const row = rowOf(event); if (row) { focusable(row); highlight(Number(row.dataset.item)); } });
    body.addEventListener('focusout', () => highlight(null));
    body.addEventListener('click', (event) => { const row = rowOf(event); if (row) pin(Number(row.dataset.item)); });
    body.addEventListener('keydown', (event) => {
      const row = rowOf(event);
      if (!row) return;
      const visible = [...body.rows].filter((other) => !other.hidden);
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step) visible[visible.indexOf(row) + step]?.focus();
      else if (event.key === 'Home') visible[0]?.focus();
      else if (event.key === 'End') visible.at(-1)?.focus();
      else if (event.key === 'Enter' || event.key === ' ') pin(Number(row.dataset.item));
      else return;
      event.preventDefault();
    });
  };

  // --- theme and print --------------------------------------------------------------------------------------------------

  const dark = matchMedia('(prefers-color-scheme: dark)');
  const theme = () => root.dataset.theme ?? (dark.matches ? 'dark' : 'light');
  const label = () => { const button = document.getElementById('theme'); button.textContent = theme() === 'dark' ? 'Light' : 'Dark'; button.setAttribute('aria-label', `Switch to the ${theme() === 'dark' ? 'light' : 'dark'} theme`); };
  const setTheme = (name) => {
    root.dataset.theme = name;
    try { localStorage.setItem('roofline-theme', name); } catch { /* not kept, then */ }
    label();
    drawAll();
  };

  const start = () => {
    try { const kept = localStorage.getItem('roofline-theme'); if (kept) root.dataset.theme = kept; } catch { /* nothing was kept */ }
    const button = document.getElementById('theme');
    button.hidden = false;
    button.addEventListener('click', () => setTheme(theme() === 'dark' ? 'light' : 'dark'));
    dark.addEventListener('change', () => { label(); drawAll(); });
    label();
    all('table.data').filter((table) => table.id).forEach(prepare);
    all('[data-search]').forEach((input) => input.addEventListener('input', () => filter(document.getElementById(input.dataset.search))));
    all('[data-choice]').forEach((input) => input.addEventListener('change', () => filter(document.getElementById(input.dataset.choice))));
    all('[data-copy]').forEach((copier) => copier.addEventListener('click', () => copy(copier)));
    document.addEventListener('keydown', (event) => { if (event.key === 'Escape' && pinned !== null) { pinned = null; current = undefined; highlight(null); } });
    const print = (on) => () => { // paper is light, and narrower than most windows
      if (on && !printing) themeBefore = root.dataset.theme;
      if (on) root.dataset.theme = 'light';
      else if (themeBefore) root.dataset.theme = themeBefore;
      else delete root.dataset.theme;
      printing = on;
      drawAll();
      if (on) drawHidden();
    };
    addEventListener('beforeprint', print(true));
    addEventListener('afterprint', print(false));
    if (!window.Plotly) {
      all('.plot').forEach((place) => { place.textContent = 'plotly.js could not be loaded, so there is no chart here; the tables have its numbers.'; place.style.height = 'auto'; });
    }
    document.addEventListener('DOMContentLoaded', () => { // after the page's own script
      drawAll();
      all('.plot').forEach((place) => { observer.observe(place); resizer.observe(place); });
    });
  };

  start();
  return { data, specs, draw, drawAll, drawHidden, beforeDraw, element, highlight, pin, onHighlight, sort, filter, significant, si, seconds, percent, escape, card, announce };
})();
