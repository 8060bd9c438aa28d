// The page of a list of devices: which dtype is shown, which classes, and the names of the dots.
'use strict';
(() => {
  const { data, specs, draw, escape } = Roofline;
  const lines = specs.map.data.filter((trace) => trace.meta.role === 'ridge');
  const names = specs.map.data.find((trace) => trace.meta.role === 'names');
  const table = document.getElementById('profiles');
  const rows = [...table.tBodies[0].rows];
  const dots = () => specs.map.data.filter((trace) => trace.meta.role === 'dots'); // one trace a class
  const hidden = new Set();

  // --- names beside dots, as many as have room ----------------------------------------------------------------------

  const CHARACTER_PX = 6.3;
  const AXES_PX = [76, 70]; // what axes and margins take of the figure
  const PLACES = { // how far to the right and down, and how much of the name lies to the left
    'middle right': [9, -7, 0], 'middle left': [-9, -7, 1], 'top center': [0, -21, 0.5], 'bottom center': [0, 7, 0.5],
    'top right': [6, -19, 0], 'bottom right': [6, 5, 0], 'top left': [-6, -19, 1], 'bottom left': [-6, 5, 1],
  };
  const overlaps = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];

  const nameDots = (width) => {
    const { layout } = specs.map;
    const place = Roofline.element('map');
    const [across, down] = [width - AXES_PX[0], place.clientHeight - AXES_PX[1]];
    const [[left, right], [bottom, top]] = ['xaxis', 'yaxis'].map((axis) => place._fullLayout?.[axis]?.range ?? layout[axis].range);
    const places = dots().filter((trace) => !hidden.has(trace.meta.class)).flatMap((trace) => trace.meta.names.map((name, i) => ({
      name,
      at: [trace.x[i], trace.y[i]],
      x: ((Math.log10(trace.x[i]) - left) / (right - left)) * across,
      y: ((top - Math.log10(trace.y[i])) / (top - bottom)) * down,
    })));
    Object.assign(names, { x: [], y: [], text: [], textposition: [] });
    const taken = places.map(({ x, y }) => [x - 5, y - 5, x + 5, y + 5]);
    for (const note of layout.annotations.filter(({ visible }) => visible)) {
      const [x, y] = [((note.x - left) / (right - left)) * across, ((top - note.y) / (top - bottom)) * down];
      const wide = note.text.length * CHARACTER_PX;
      taken.push(note.yanchor === 'top' ? [x - wide, y, x, y + 16] : [x - wide, y - 16, x, y]);
    }
    for (const { name, at, x, y } of places) {
      const wide = name.length * CHARACTER_PX + 2;
      for (const [position, [dx, dy, back]] of Object.entries(PLACES)) {
        const box = [x + dx - back * wide, y + dy, x + dx + (1 - back) * wide, y + dy + 14];
        if (box[0] < 0 || box[2] > across || box[1] < 0 || box[3] > down || taken.some((other) => overlaps(box, other))) continue;
        taken.push(box);
        names.x.push(at[0]);
        names.y.push(at[1]);
        names.text.push(escape(name));
        names.textposition.push(position);
        break;
      }
    }
  };

  let listening = false;
  Roofline.beforeDraw('map', (width) => {
    for (const note of specs.map.layout.annotations) note.visible = note.name === (width < 560 ? 'narrow' : 'wide');
    for (const trace of dots()) trace.visible = !hidden.has(trace.meta.class);
    nameDots(width);
    if (listening) return;
    listening = true; // once plotly is there: after a zoom there is room for other names
    requestAnimationFrame(() => Roofline.element('map').on?.('plotly_relayout', (change) => {
      if (Object.keys(change).some((key) => /axis\.(range|autorange)/.test(key))) draw('map');
    }));
  });

  // --- the reader's choices -------------------------------------------------------------------------------------------

  const sortAgain = () => {
    const headings = [...table.tHead.rows[0].cells];
    const column = headings.findIndex((heading) => heading.hasAttribute('aria-sort'));
    if (column >= 0) Roofline.sort(table, column, headings[column].getAttribute('aria-sort'));
  };

  const show = (choice) => {
    specs.map.data = [...lines, ...data.dots[choice].map((trace) => ({ ...trace, hovertext: trace.customdata.map((item) => data.cards[item]) })), names];
    const shown = new Set(dots().flatMap((trace) => trace.customdata));
    Roofline.highlight(null);
    table.tBodies[0].replaceChildren(...rows.filter((row) => shown.has(Number(row.dataset.item))));
    sortAgain();
    [...table.tBodies[0].rows].forEach((row, i) => { row.tabIndex = i ? -1 : 0; });
    Roofline.filter(table);
    draw('map');
  };

  const dtype = document.getElementById('dtype');
  dtype.addEventListener('change', () => {
    show(dtype.value);
    Roofline.announce(`${table.tBodies[0].rows.length} devices at ${dtype.selectedOptions[0].textContent}`);
  });
  for (const button of document.querySelectorAll('[data-class]')) {
    button.addEventListener('click', () => {
      const name = button.dataset.class;
      if (!hidden.delete(name)) hidden.add(name);
      button.setAttribute('aria-pressed', String(!hidden.has(name)));
      draw('map');
    });
  }
  dtype.value = data.first;
  show(data.first);
})();
