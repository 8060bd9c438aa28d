// The page of a comparison: which pair is drawn, by what its difference is summed, and which of its layers are shown.
'use strict';
(() => {
  const { pairs } = Roofline.data;
  const table = document.getElementById('layers');
  const changes = document.getElementById('changes');
  const input = (id) => document.getElementById(id);
  const statusColumn = [...table.tHead.rows[0].cells].findIndex((heading) => heading.dataset.key === 'status');

  // --- rows -----------------------------------------------------------------------------------------------------------

  const rowOf = (headings, cells, item) => {
    const row = document.createElement('tr');
    cells.forEach(([text, value = null, color = '', share = null], column) => {
      const cell = document.createElement(column ? 'td' : 'th');
      if (!column) cell.scope = 'row';
      cell.classList.toggle('number', headings[column].classList.contains('number'));
      if (value !== null) cell.dataset.value = value;
      if (share !== null) cell.style.setProperty('--part', share);
      if (color) {
        const dot = document.createElement('i');
        dot.className = 'dot';
        dot.style.background = color;
        cell.append(dot);
      }
      cell.append(text);
      row.append(cell);
    });
    if (item !== undefined) {
      row.dataset.item = item;
      row.tabIndex = -1;
    }
    return row;
  };

  const rowsOf = (owner, cells, linked) => cells.map((row, i) => rowOf([...owner.tHead.rows[0].cells], row, linked ? i : undefined));

  const sortAgain = (owner) => {
    const headings = [...owner.tHead.rows[0].cells];
    const column = headings.findIndex((heading) => heading.hasAttribute('aria-sort'));
    if (column >= 0) Roofline.sort(owner, column, headings[column].getAttribute('aria-sort'));
  };

  const layers = pairs.map(() => null); // the rows of each pair, once they were asked for
  layers[0] = [...table.tBodies[0].rows];

  const showLayers = (pair) => {
    layers[pair] ??= rowsOf(table, pairs[pair].rows.layers, true);
    const only = input('only-changed').checked;
    const shown = layers[pair].filter((row) => !only || row.cells[statusColumn].textContent !== 'same');
    Roofline.highlight(null);
    table.tBodies[0].replaceChildren(...shown);
    for (const choice of document.querySelectorAll('[data-choice="layers"]')) {
      const kept = choice.value;
      const values = new Set(shown.map((row) => row.cells[choice.dataset.column].textContent));
      choice.replaceChildren(choice.options[0], ...[...values].sort().map((value) => new Option(value)));
      choice.value = values.has(kept) ? kept : '';
    }
    sortAgain(table);
    [...table.tBodies[0].rows].forEach((row, i) => { row.tabIndex = i ? -1 : 0; });
    Roofline.filter(table);
  };

  // --- figures --------------------------------------------------------------------------------------------------------

  const put = (id, figure) => {
    Roofline.specs[id] = figure;
    if (figure.layout.height) Roofline.element(id).style.height = `${figure.layout.height}px`;
    Roofline.draw(id);
  };

  const showChange = (pair) => {
    const group = input('group').value;
    put('change', pairs[pair].figures[group]);
    changes.tBodies[0].replaceChildren(...rowsOf(changes, pairs[pair].rows[group], false));
    sortAgain(changes);
  };

  Object.assign(pairs[0].figures, { roofline: Roofline.specs.roofline, kind: Roofline.specs.change });

  Roofline.beforeDraw('roofline', (width) => { // on a phone there is no room for words
    for (const note of Roofline.specs.roofline.layout.annotations) note.visible = note.name === (width < 560 ? 'narrow' : 'wide');
  });

  let pair = 0;
  const showPair = (number) => {
    pair = number;
    input('sentence').textContent = pairs[pair].sentence;
    showLayers(pair);
    put('roofline', pairs[pair].figures.roofline);
    showChange(pair);
    Roofline.announce(pairs[pair].sentence);
  };

  const bars = Roofline.specs.bars;
  const times = bars.data.map((trace) => trace.x);
  const showBars = () => {
    const share = input('as-share').checked;
    bars.data.forEach((trace, i) => { trace.x = share ? times[i].map((time) => time / trace.meta.total_s) : times[i]; });
    Object.assign(bars.layout.xaxis, share ? { title: { text: 'share of the latency' }, tickformat: '.0%', ticksuffix: '' }
      : { title: { text: 'time' }, tickformat: '~s', ticksuffix: 's' });
    Roofline.draw('bars');
  };

  input('pair')?.addEventListener('change', (event) => showPair(Number(event.target.value)));
  input('group').addEventListener('change', () => showChange(pair));
  input('only-changed').addEventListener('change', () => showLayers(pair));
  input('as-share').addEventListener('change', showBars);
  input('only-changed').checked = true;
  showLayers(0);
})();
