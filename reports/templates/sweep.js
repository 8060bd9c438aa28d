// The page of a sweep: the exact curve of each model, at any ridge point that the reader chooses, and all that follows.
'use strict';
(() => {
  const { data, specs, draw, si, percent, significant, escape, card } = Roofline;
  const { models, profiles, normalisation, marks, unit } = data;
  const operations = Object.keys(data.operations);
  const operationName = (o) => data.operations[operations[o]];
  const [lowest, highest] = data.ridge_range;
  const STEPS = 240; // of a curve; drawn between them as straight lines
  const MAX_RIDGE_POINT = 1e18;
  const by = (id) => document.getElementById(id);
  const tracesOf = (id, role) => specs[id].data.filter((trace) => trace.meta?.role === role);
  const state = { point: data.start, relative: 'fastest', logLatency: true, logRidge: data.scale === 'log', shares: false, alongShares: true, along: 0 };

  // --- curves: sorted once, summed once, then a binary search -------------------------------------------------------------

  const curveOf = (layers) => {
    const intensity = ([macs, bytes]) => (bytes > 0 ? macs / bytes : macs > 0 ? Infinity : 0);
    const sorted = [...layers].sort((a, b) => { const [x, y] = [intensity(a), intensity(b)]; return x < y ? -1 : x > y ? 1 : 0; });
    const macsBeyond = new Array(sorted.length + 1).fill(0);
    const bytesBelow = new Array(sorted.length + 1).fill(0);
    for (let k = sorted.length; k > 0; k -= 1) macsBeyond[k - 1] = macsBeyond[k] + sorted[k - 1][0];
    sorted.forEach(([, bytes], k) => { bytesBelow[k + 1] = bytesBelow[k] + bytes; });
    return { intensities: sorted.map(intensity), macsBeyond, bytesBelow };
  };
  const search = (sorted, value, orEqual) => { // how many are below the value, or at it too
    let [from, to] = [0, sorted.length];
    while (from < to) {
      const middle = (from + to) >> 1;
      if (sorted[middle] < value || (orEqual && sorted[middle] === value)) from = middle + 1;
      else to = middle;
    }
    return from;
  };
  const work = (curve, point) => { // at a peak of 1: finite at ridge point 0 too, so this is what ranks
    const k = search(curve.intensities, point, true);
    return curve.macsBeyond[k] + point * curve.bytesBelow[k];
  };
  const time = (curve, point) => { // in the unit of the sweep
    if (normalisation === 'peak') return work(curve, point);
    const k = search(curve.intensities, point, true);
    const macs = curve.macsBeyond[k];
    return (macs > 0 ? macs / point : 0) + curve.bytesBelow[k];
  };
  const memoryShare = (curve, point) => {
    const k = search(curve.intensities, point, false);
    const memory = point * curve.bytesBelow[k];
    const total = curve.macsBeyond[k] + memory;
    return total > 0 ? memory / total : 0;
  };
  const pairs = ([macs, bytes]) => macs.map((value, i) => [value, bytes[i]]);
  const curves = models.map(({ parts }) => curveOf(Object.values(parts).flatMap(pairs)));
  const parts = models.map(({ parts: of }) => operations.map((name) => curveOf(pairs(of[name]))));

  const least = (values) => { const positive = values.filter((value) => value > 0); return positive.length ? Math.min(...positive) : null; };
  const standingsAt = (point) => {
    const works = curves.map((curve) => work(curve, point));
    const fastest = least(works);
    const order = works.map((_, i) => i).sort((a, b) => works[a] - works[b]);
    const rank = new Array(works.length);
    order.forEach((i, place) => { rank[i] = place + 1; });
    return models.map(({ top1 }, i) => ({
      rank: rank[i],
      relative: fastest === null ? null : works[i] / fastest,
      latency: time(curves[i], point),
      memory: memoryShare(curves[i], point),
      onFront: top1 === null ? null : !models.some((rival, j) => rival.top1 !== null && rival.top1 >= top1 && works[j] <= works[i]
        && (rival.top1 > top1 || works[j] < works[i])),
    }));
  };

  // --- words ------------------------------------------------------------------------------------------------------------

  const times = (ratio) => (ratio === null ? '–' : ratio < 9.995 ? ratio.toFixed(2) : significant(ratio));
  const shown = (point) => significant(point, 4);
  const latencyText = (value) => (Number.isFinite(value) ? si(value) : 'inf');
  const frontText = (onFront) => (onFront === null ? 'no top-1' : onFront ? 'on the front' : 'dominated');
  const short = (name, length) => (name.length <= length ? name : `…${name.slice(1 - length)}`);
  const listed = (names, most = 8) => (names.length <= most ? names : [...names.slice(0, most - 1), `${names.length - most + 1} more`]).join(', ');
  const cardOf = (i, { relative, latency, memory, onFront }) => card(models[i].name, [
    `${models[i].top1 === null ? 'no published top-1' : `top-1 ${models[i].top1.toFixed(1)} %, ${frontText(onFront)}`}`,
    `${times(relative)} times the fastest; ${latencyText(latency)} ${unit}`,
    `${percent(memory)} of its time in memory-bound layers`,
  ]);

  // --- the axis of ridge points -----------------------------------------------------------------------------------------

  const axisRange = () => (state.logRidge ? [Math.max(lowest, highest / 1e3), highest] : [lowest, highest]);
  const along = (point) => { // 0 to 1
    const [low, high] = axisRange();
    return state.logRidge ? Math.log(point / low) / Math.log(high / low) : (point - low) / (high - low);
  };
  const grid = () => {
    const [low, high] = axisRange();
    const steps = Array.from({ length: STEPS + 1 }, (_, i) => (i === STEPS ? high : state.logRidge ? low * (high / low) ** (i / STEPS) : low + ((high - low) * i) / STEPS));
    const corners = data.crossings.length <= 500 ? data.crossings : []; // so many lines hide theirs
    return [...new Set([...steps, ...corners.filter((point) => point > low && point < high)])].sort((a, b) => a - b);
  };
  const setAxis = (id) => {
    const { xaxis } = specs[id].layout;
    const range = axisRange();
    xaxis.type = state.logRidge ? 'log' : 'linear';
    xaxis.range = state.logRidge ? range.map(Math.log10) : range;
    xaxis.uirevision = xaxis.type; // a zoom into the one says nothing of the other
    if (state.logRidge) Object.assign(xaxis, { tickformat: '~g', dtick: 'D2' });
    else { delete xaxis.tickformat; delete xaxis.dtick; }
  };
  const onAxis = (point) => point >= axisRange()[0] && point <= axisRange()[1];
  const setLines = (id) => {
    for (const line of specs[id].layout.shapes) {
      if (line.name === 'chosen') { line.x0 = line.x1 = state.point; line.visible = onAxis(state.point); }
      else if (line.name === 'profile') line.visible = onAxis(line.x0);
    }
  };
  // Names of profiles stand above the axes in as many rows as keep them apart; one without room goes without.
  const PAPER_PX = 690; // as wide as report.js makes a figure for print
  let printing = false;
  const widthOf = (id) => Math.min(Roofline.element(id).clientWidth, printing ? PAPER_PX : Infinity);
  const setLabels = (id, beside) => {
    const { layout } = specs[id];
    const width = Math.max(120, widthOf(id) - beside);
    const style = specs[id].layout.annotations?.find(({ name }) => name === 'profile') ?? setLabels.style;
    setLabels.style ??= style;
    const ends = new Array(marks.rows).fill(-Infinity);
    const labels = [];
    let highestRow = -1;
    for (const mark of profiles) {
      if (!onAxis(mark.ridge_point) || !style) continue;
      const at = along(mark.ridge_point) * width;
      const wide = mark.id.length * marks.character_px + 8;
      const left = at + wide <= width ? at : at - wide;
      const row = ends.findIndex((end) => end <= left);
      if (row < 0) continue;
      ends[row] = left + wide;
      highestRow = Math.max(highestRow, row);
      labels.push({
        ...style,
        text: escape(mark.id),
        hovertext: card(mark.name, [`ridge point ${shown(mark.ridge_point)} MACs/byte at ${mark.dtype}`, ...(mark.kind ? [`figures: ${mark.kind}`] : [])]),
        x: state.logRidge ? Math.log10(mark.ridge_point) : mark.ridge_point,
        ay: -(10 + marks.row_px * row),
        xanchor: left === at ? 'left' : 'right',
      });
    }
    layout.annotations = [...(layout.annotations ?? []).filter(({ name }) => name !== 'profile'), ...labels];
    layout.margin.t = highestRow < 0 ? 12 : 24 + marks.row_px * highestRow;
  };

  // --- latency over the ridge point -------------------------------------------------------------------------------------

  const baseAt = (point) => {
    if (state.relative === '') return null;
    if (state.relative === 'fastest') return least(curves.map((curve) => work(curve, point)));
    return work(curves[Number(state.relative)], point) || null;
  };
  const heightOf = (curve, point, base) => {
    const value = state.relative === '' ? time(curve, point) : base === null ? null : work(curve, point) / base;
    return Number.isFinite(value) ? value : null;
  };
  const pointText = (i, point, height) => card(models[i].name, [
    `ridge point ${significant(point)} MACs/byte`,
    state.relative === '' ? `${height === null ? 'inf' : si(height)} ${unit}`
      : `${times(height)} times ${state.relative === 'fastest' ? 'the fastest' : models[Number(state.relative)].name}`,
    `${percent(memoryShare(curves[i], point))} of its time in memory-bound layers`,
  ]);
  // The first point of each curve is the chosen ridge point, apart from the rest: highlights find it there.
  const chosenPoint = () => {
    const base = baseAt(state.point);
    for (const trace of tracesOf('latency', 'curve')) {
      const i = trace.meta.model;
      const height = heightOf(curves[i], state.point, base);
      [trace.x[0], trace.y[0], trace.hovertext[0]] = [state.point, height, pointText(i, state.point, height)];
    }
    setLines('latency');
  };
  const drawCurves = () => {
    const points = grid();
    const bases = points.map(baseAt);
    for (const trace of tracesOf('latency', 'curve')) {
      const i = trace.meta.model;
      const heights = points.map((point, at) => heightOf(curves[i], point, bases[at]));
      trace.x = [state.point, null, ...points];
      trace.y = [null, null, ...heights];
      trace.customdata = [i, null, ...points.map(() => i)];
      trace.hovertext = ['', '', ...points.map((point, at) => pointText(i, point, heights[at]))];
      trace.hoverinfo = 'text';
    }
    const { layout } = specs.latency;
    const name = state.relative === '' ? `latency, ${unit}` : state.relative === 'fastest' ? 'latency, times the fastest'
      : `latency, times ${escape(short(models[Number(state.relative)].name, 30))}`;
    layout.yaxis = {
      ...layout.yaxis, title: { text: name }, type: state.logLatency ? 'log' : 'linear', tickformat: '~s',
      uirevision: `${state.relative} ${state.logLatency}`, rangemode: state.logLatency ? 'normal' : 'tozero',
    };
    if (state.logLatency) layout.yaxis.dtick = 'D2';
    else delete layout.yaxis.dtick;
    setAxis('latency');
    setLabels('latency', 76);
    chosenPoint();
    draw('latency');
  };

  // --- accuracy against latency -------------------------------------------------------------------------------------------

  const overlaps = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
  const PLACES = { // of a name beside its dot: how far to the right and down, and how much of it lies to the left
    'bottom right': [7, 5, 0], 'middle right': [10, -7, 0], 'top right': [7, -20, 0], 'middle left': [-10, -7, 1],
    'top left': [-7, -20, 1], 'bottom left': [-7, 5, 1], 'bottom center': [0, 8, 0.5], 'top center': [0, -22, 0.5],
  };
  const FREE = Object.keys(PLACES);
  const BESIDE_LINE = ['bottom right', 'top left', 'middle left', 'top center', 'bottom center', 'top right', 'bottom left', 'middle right'];
  const drawTradeoff = (standings) => {
    const { layout } = specs.tradeoff;
    const [first, last] = layout.xaxis.range;
    const [floor, roof] = layout.yaxis.range;
    const width = Math.max(150, widthOf('tradeoff') - 66);
    const height = Math.max(150, Roofline.element('tradeoff').clientHeight - 62);
    const base = layout.yaxis.domain[0];
    const dots = [...tracesOf('tradeoff', 'dots'), ...tracesOf('tradeoff', 'aside')];
    const places = [];
    for (const trace of dots) {
      const strip = trace.meta.role === 'aside';
      trace.x = trace.customdata.map((i) => standings[i].relative || null);
      trace.marker.opacity = trace.customdata.map((i) => (standings[i].onFront === false ? 0.35 : 1));
      trace.marker.symbol = trace.customdata.map((i) => (standings[i].onFront ? 'circle' : 'circle-open'));
      trace.hovertext = trace.customdata.map((i) => cardOf(i, standings[i]));
      trace.text = trace.customdata.map(() => '');
      trace.textposition = trace.customdata.map(() => 'bottom right');
      trace.textfont = { ...trace.textfont, color: trace.customdata.map((i) => (standings[i].onFront === false ? 'var(--muted)' : 'var(--text)')) };
      trace.customdata.forEach((i, number) => {
        const x = ((Math.log10(standings[i].relative) - first) / (last - first)) * width;
        const part = strip ? (base - 0.06) * trace.y[number] : base + ((trace.y[number] - floor) / (roof - floor)) * (1 - base);
        if (standings[i].relative) places.push({ i, x, y: (1 - part) * height, trace, number, urgent: standings[i].onFront ? 0 : 1 });
      });
    }
    const taken = places.map(({ x, y }) => [x - 6, y - 6, x + 6, y + 6]);
    for (const { i, x, y, trace, number, urgent } of [...places].sort((a, b) => a.urgent - b.urgent)) {
      const name = short(models[i].name, width < 500 ? 18 : 40);
      const wide = name.length * marks.character_px + 4;
      for (const place of urgent ? FREE : BESIDE_LINE) {
        const [dx, dy, back] = PLACES[place];
        const box = [x + dx - back * wide, y + dy, x + dx + (1 - back) * wide, y + dy + 14];
        if (box[0] < 0 || box[2] > width || box[1] < 0 || box[3] > height || taken.some((other) => overlaps(box, other))) continue;
        taken.push(box);
        trace.text[number] = escape(name);
        trace.textposition[number] = place;
        break;
      }
    }
    const front = models.map(({ top1 }, i) => [standings[i].relative, top1, standings[i].onFront])
      .filter(([, , onFront]) => onFront).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    for (const trace of tracesOf('tradeoff', 'front')) {
      trace.x = front.length ? [front[0][0], ...front.map(([x]) => x), 10 ** (last + 1)] : [];
      trace.y = front.length ? [floor - 100, ...front.map(([, y]) => y), front.at(-1)[1]] : [];
    }
    layout.xaxis.title.text = `latency at ${shown(state.point)} MACs/byte, times the fastest`;
    draw('tradeoff');
  };

  // --- the front, and what the time is spent on ------------------------------------------------------------------------------

  const fitNames = (id) => {
    const { layout } = specs[id];
    const narrow = widthOf(id) < 560;
    layout.yaxis.ticktext = layout.meta.names.map((name) => escape(narrow ? short(name, 18) : name));
  };
  const drawFront = () => {
    if (!Roofline.element('front')) return;
    const [low] = axisRange();
    for (const trace of tracesOf('front', 'intervals')) {
      trace.base = trace.meta.low.map((from) => Math.max(from, low));
      trace.x = trace.meta.high.map((to, i) => Math.max(0, to - trace.base[i]));
    }
    fitNames('front');
    const longest = Math.max(...specs.front.layout.yaxis.ticktext.map((name) => name.length));
    setAxis('front');
    setLabels('front', 30 + longest * marks.character_px);
    setLines('front');
    draw('front');
  };

  const drawOperations = (standings) => {
    const works = parts.map((of) => of.map((curve) => work(curve, state.point)));
    const totals = works.map((of) => of.reduce((a, b) => a + b, 0));
    const fastest = least(totals) ?? 1;
    const scale = totals.map((total) => (state.shares ? total || 1 : fastest));
    const texts = models.map(({ name }, i) => card(name, [
      `${times(standings[i].relative)} times the fastest`,
      ...operations.flatMap((_, o) => (works[i][o] > 0 ? [`${operationName(o)}: ${percent(works[i][o] / totals[i])}, ${times(works[i][o] / fastest)}`] : [])),
    ]));
    for (const trace of tracesOf('operations', 'operation')) {
      const o = operations.indexOf(trace.meta.operation);
      trace.x = works.map((of, i) => of[o] / scale[i]);
      trace.hovertext = texts;
    }
    for (const trace of tracesOf('operations', 'totals')) {
      trace.x = totals.map((total, i) => total / scale[i]);
      trace.text = standings.map(({ relative }) => ` ${times(relative)}`);
    }
    const { layout } = specs.operations;
    layout.xaxis.title.text = state.shares ? 'share of the time; at the end, latency in times the fastest' : 'latency, times the fastest';
    layout.xaxis.tickformat = state.shares ? '.0%' : '~g';
    fitNames('operations');
    draw('operations');
    fillShares(by('by-operation'), works, totals);
  };

  const drawAlong = () => {
    const points = grid();
    const works = points.map((point) => parts[state.along].map((curve) => work(curve, point)));
    const heights = points.map((point) => parts[state.along].map((curve) => time(curve, point)));
    const totals = works.map((of) => of.reduce((a, b) => a + b, 0));
    for (const trace of tracesOf('along', 'operation')) {
      const o = operations.indexOf(trace.meta.operation);
      trace.x = points;
      trace.y = points.map((_, at) => { const y = state.alongShares ? works[at][o] / (totals[at] || 1) : heights[at][o]; return Number.isFinite(y) ? y : null; });
      trace.hovertext = points.map((_, at) => `${operationName(o)} ${percent(works[at][o] / (totals[at] || 1))}${state.alongShares ? '' : `, ${latencyText(heights[at][o])}`}`);
      trace.hoverinfo = 'text';
    }
    const { layout } = specs.along;
    layout.hovermode = 'x unified';
    layout.xaxis.hoverformat = '.3~g';
    layout.yaxis = state.alongShares
      ? { title: { text: 'share of the time' }, tickformat: '.0%', range: [0, 1], uirevision: 'shares' }
      : { title: { text: `latency, ${unit}` }, tickformat: '~s', rangemode: 'tozero', uirevision: `times ${state.along}` };
    setAxis('along');
    setLines('along');
    draw('along');
    const told = data.told_points.map((point) => parts[state.along].map((curve) => work(curve, point)));
    fillShares(by('along-operation'), told, told.map((of) => of.reduce((a, b) => a + b, 0)));
  };

  // --- tables and sentences -----------------------------------------------------------------------------------------------

  const put = (cell, text, value) => { cell.lastChild.textContent = text; cell.dataset.value = value ?? ''; };
  const columnsOf = (table) => Object.fromEntries([...table.tHead.rows[0].cells].map((heading, i) => [heading.dataset.key, i]));
  const resort = (table) => {
    const column = [...table.tHead.rows[0].cells].findIndex((heading) => heading.hasAttribute('aria-sort'));
    if (column >= 0) Roofline.sort(table, column, table.tHead.rows[0].cells[column].getAttribute('aria-sort'));
  };
  const rowsOf = (table) => { // in the order that Python wrote them, however they are sorted
    table.originalRows ??= [...table.tBodies[0].rows];
    return table.originalRows;
  };
  const fillShares = (table, works, totals) => {
    rowsOf(table).forEach((row, i) => operations.forEach((_, o) => {
      const share = works[i][o] / (totals[i] || 1);
      put(row.cells[o + 1], percent(share), share);
      row.cells[o + 1].style.setProperty('--part', share.toFixed(4));
    }));
    resort(table);
  };
  const fillStanding = (standings) => {
    const table = by('standing');
    const column = columnsOf(table);
    rowsOf(table).forEach((row, i) => {
      const { rank, relative, latency, memory, onFront } = standings[i];
      put(row.cells[column.rank], String(rank), rank);
      put(row.cells[column.relative_latency], times(relative), relative);
      put(row.cells[column.latency], latencyText(latency), Number.isFinite(latency) ? latency : '');
      put(row.cells[column.memory_bound_share], percent(memory), memory);
      row.cells[column.front].textContent = frontText(onFront);
    });
    resort(table);
    Roofline.filter(table);
  };
  const fillSentence = (standings) => {
    const order = models.map((_, i) => i).sort((a, b) => standings[a].rank - standings[b].rank);
    const front = order.filter((i) => standings[i].onFront);
    const device = profiles.find(({ ridge_point: point }) => point === state.point);
    const fastest = models[order[0]].name;
    by('ridge-answer').textContent = `Fastest: ${short(fastest, 28)}`;
    by('standing-sentence').textContent = `At ${shown(state.point)} MACs/byte${device ? ` (${device.name}, ${device.dtype})` : ''} the fastest is ${fastest}.`
      + (front.length ? ` On the front, from the fastest to the most accurate: ${listed(front.map((i) => models[i].name))}.` : '');
    for (const place of document.querySelectorAll('.chosen')) place.textContent = shown(state.point);
  };

  // --- controls -------------------------------------------------------------------------------------------------------------

  // The slider is finer at low ridge points, where models change places.
  const LOG = data.scale === 'log';
  const pointAt = (part) => (LOG ? lowest * (highest / lowest) ** part : lowest + (highest - lowest) * part ** 3);
  const partOf = (point) => Math.min(1, Math.max(0, LOG ? Math.log(point / lowest) / Math.log(highest / lowest) : Math.cbrt((point - lowest) / (highest - lowest))));
  const slider = by('ridge-slider');
  const number = by('ridge-number');
  const choice = by('ridge-profile');
  const fillControls = (except) => {
    if (except !== slider) slider.value = partOf(state.point);
    slider.setAttribute('aria-valuetext', `${shown(state.point)} MACs/byte`);
    if (except !== number) number.value = shown(state.point);
    const device = profiles.findIndex(({ ridge_point: point }) => point === state.point);
    if (choice) choice.value = device < 0 ? '' : String(device);
  };

  let queued = false;
  const update = () => {
    if (queued) return;
    queued = true;
    requestAnimationFrame(() => {
      queued = false;
      const standings = standingsAt(state.point);
      fillSentence(standings);
      fillStanding(standings);
      chosenPoint();
      draw('latency');
      drawTradeoff(standings);
      if (Roofline.element('front')) { setLines('front'); draw('front'); }
      drawOperations(standings);
      setLines('along');
      draw('along');
      Roofline.announce(by('standing-sentence').textContent);
    });
  };
  const goTo = (point, except) => {
    state.point = point;
    fillControls(except);
    update();
  };
  slider.addEventListener('input', () => {
    const part = Number(slider.value);
    goTo(part === 0 ? lowest : part === 1 ? highest : Number(pointAt(part).toPrecision(3)), slider);
  });
  number.addEventListener('input', () => {
    const point = Number(number.value);
    const valid = number.value.trim() !== '' && point >= 0 && point <= MAX_RIDGE_POINT;
    number.setAttribute('aria-invalid', String(!valid));
    if (valid) goTo(number.value === shown(state.point) ? state.point : point, number); // half typed otherwise
  });
  number.addEventListener('change', () => { number.removeAttribute('aria-invalid'); fillControls(); });
  choice?.addEventListener('change', () => { if (choice.value !== '') goTo(profiles[Number(choice.value)].ridge_point, choice); });
  by('ridge').addEventListener('submit', (event) => event.preventDefault());

  by('relative').addEventListener('change', (event) => { state.relative = event.target.value; drawCurves(); });
  by('log-latency').addEventListener('change', (event) => { state.logLatency = event.target.checked; drawCurves(); });
  by('log-ridge').addEventListener('change', (event) => { state.logRidge = event.target.checked; drawCurves(); drawFront(); drawAlong(); });
  by('operation-shares').addEventListener('change', (event) => { state.shares = event.target.checked; drawOperations(standingsAt(state.point)); });
  by('along-model').addEventListener('change', (event) => { state.along = Number(event.target.value); drawAlong(); });
  by('along-shares').addEventListener('change', (event) => { state.alongShares = event.target.checked; drawAlong(); });

  for (const button of document.querySelectorAll('[data-model]')) {
    const i = Number(button.dataset.model);
    button.addEventListener('click', () => {
      const on = button.getAttribute('aria-pressed') !== 'true';
      button.setAttribute('aria-pressed', String(on));
      for (const trace of tracesOf('latency', 'curve')) if (trace.meta.model === i) trace.visible = on;
      draw('latency');
    });
    for (const event of ['mouseenter', 'focus']) button.addEventListener(event, () => Roofline.highlight(i));
    for (const event of ['mouseleave', 'blur']) button.addEventListener(event, () => Roofline.highlight(null));
  }
  Roofline.onHighlight((item) => { // among many lines, one stands out when the others step back
    for (const line of document.querySelectorAll('#plot-latency .scatterlayer .trace')) {
      const i = line.__data__?.[0]?.trace?.meta?.model;
      line.style.opacity = item === null || item === undefined || i === item ? '' : '0.2';
    }
  });

  // A ridge point in the table of crossings is a button that goes there.
  const crossings = by('crossings');
  if (crossings) {
    const column = columnsOf(crossings).ridge_point_macs_per_byte;
    for (const row of crossings.tBodies[0].rows) {
      const cell = row.cells[column];
      const button = document.createElement('button');
      button.type = 'button';
      button.className = 'quiet go';
      button.textContent = cell.textContent.trim();
      button.setAttribute('aria-label', `Go to ridge point ${button.textContent} MACs/byte`);
      button.addEventListener('click', () => goTo(Number(cell.dataset.value)));
      cell.replaceChildren(button);
    }
  }

  const fit = () => {
    setLabels('latency', 76);
    draw('latency');
    drawTradeoff(standingsAt(state.point));
    drawFront();
    fitNames('operations');
    draw('operations');
  };
  let width = Roofline.element('latency').clientWidth;
  new ResizeObserver(() => {
    const now = Roofline.element('latency').clientWidth;
    if (now !== width) { width = now; fit(); }
  }).observe(Roofline.element('latency'));
  for (const [event, on] of [['beforeprint', true], ['afterprint', false]]) { // before report.js draws for it
    addEventListener(event, () => { printing = on; fit(); }, { capture: true });
  }

  // For tests, and for whoever asks a browser's console.
  Roofline.sweep = { at: standingsAt, time: (i, point) => time(curves[i], point), parts: (i, point) => parts[i].map((curve) => time(curve, point)), goTo };

  specs.latency.layout.showlegend = false; // the page has keys of its own
  for (const id of ['operations', 'along']) Object.assign(specs[id].layout, { showlegend: false, margin: { ...specs[id].layout.margin, t: 8 } });
  by('ridge').hidden = false;
  const standing = by('standing');
  rowsOf(standing);
  Roofline.sort(standing, columnsOf(standing).rank, 'ascending');
  fillControls();
  const standings = standingsAt(state.point);
  fillSentence(standings);
  drawCurves();
  drawTradeoff(standings);
  drawFront();
  drawOperations(standings);
  drawAlong();
})();
