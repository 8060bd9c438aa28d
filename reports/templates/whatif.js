// The page of a what-if: the same piecewise linear functions as roofline/response.py, for any target of the reader's.
'use strict';
(() => {
  const { data, specs, draw, si, seconds, significant, card } = Roofline;
  const form = document.getElementById('target');
  if (!form) return; // a model that takes no time
  const { layers, peak, bandwidth, latency_s: present } = data;
  const count = layers.name.length;
  const given = data.target_s ?? present;
  const state = { target: given };
  const by = (id) => document.getElementById(id);
  const traceOf = (id, role) => specs[id].data.find((trace) => trace.meta?.role === role);
  const AT_KNEE = 1e-12;

  // --- a latency over a factor f: fixed + sum of max(slope / f, floor) -------------------------------------------------

  const combined = (mac, vector, mem) => (data.add ? mac + vector + mem : Math.max(mac, vector, mem));
  const respond = (fixed, slope, floor) => {
    const turning = [];
    let steady = fixed;
    for (let i = 0; i < slope.length; i += 1) {
      if (slope[i] > 0) turning.push([floor[i] / slope[i], slope[i], floor[i]]);
      else steady += floor[i];
    }
    turning.sort(([a], [b]) => a - b);
    const slopes = new Array(turning.length + 1).fill(0);
    const intercepts = new Array(turning.length + 1).fill(0);
    turning.forEach(([, rise], k) => { slopes[k + 1] = slopes[k] + rise; });
    for (let k = turning.length; k > 0; k -= 1) intercepts[k - 1] = intercepts[k] + turning[k - 1][2];
    return { knees: turning.map(([knee]) => knee), slopes, intercepts: intercepts.map((value) => value + steady) };
  };
  const factorFor = ({ knees, slopes, intercepts }, target) => { // null where no finite one is enough, 0 where any is
    if (!knees.length) return intercepts[0] <= target ? 0 : null;
    let k = 0;
    while (k < knees.length && intercepts[k] + slopes[k] * knees[k] <= target) k += 1;
    if (!k) return null;
    const root = (target - intercepts[k]) / slopes[k];
    const u = Math.min(Math.max(root, knees[k - 1]), k < knees.length ? knees[k] : Infinity);
    return u > 0 && Number.isFinite(1 / u) ? 1 / u : null;
  };
  const limitOf = ({ intercepts }) => intercepts[0];

  const zeros = new Array(count).fill(0);
  const response = (rates, { p = 1, b = 1 } = {}) => { // of the peak, the bandwidths or both, on a device p and b times as fast
    const columns = { peak: layers.mac_s.map((time) => time / p), vector: layers.vector_s, bandwidth: layers.mem_s.map((time) => time / b) };
    const part = (moves) => {
      const [mac, vector, mem] = Object.entries(columns).map(([rate, times]) => (rates.includes(rate) === moves ? times : zeros));
      return mac.map((_, i) => combined(mac[i], vector[i], mem[i]));
    };
    const [moving, staying] = [part(true), part(false)];
    if (data.add) return respond(data.overhead_s + staying.reduce((a, c) => a + c, 0), moving, zeros);
    return respond(data.overhead_s, moving, staying);
  };
  const alone = { peak: response(['peak']), bandwidth: response(['bandwidth']), both: response(['peak', 'bandwidth']) };

  // --- the iso-latency curve ------------------------------------------------------------------------------------------

  const ratios = (above, below) => {
    const found = new Map();
    above.forEach((value, i) => {
      if (value > 0 && below[i] > 0) found.set(value / below[i], [...(found.get(value / below[i]) ?? []), i]);
    });
    return [...found];
  };
  const rays = ratios(layers.mac_s, layers.mem_s);
  const onRay = (ray, target) => {
    const along = factorFor(response(['peak', 'bandwidth'], { p: ray }), target);
    return along ? { p: along * ray, b: along } : null;
  };
  const grid = (() => {
    const bare = rays.length ? rays.map(([ray]) => ray) : [1];
    const [high, low] = [Math.max(...bare) * 10 ** data.curve.end_decades, Math.min(...bare) / 10 ** data.curve.end_decades];
    const steps = Array.from({ length: data.curve.rays }, (_, i) => high * (low / high) ** (i / (data.curve.rays - 1)));
    return [...new Set([...steps, ...bare])].sort((a, c) => c - a);
  })();
  const curveAt = (target) => grid.map((ray) => onRay(ray, target)).filter(Boolean);

  const kneesAt = (target) => {
    if (data.add) return [];
    const found = [];
    const turning = (point, which, pair) => {
      const at = which.filter((i) => combined(layers.mac_s[i] / point.p, layers.vector_s[i], layers.mem_s[i] / point.b) <= pair(i) * (1 + AT_KNEE));
      if (at.length) found.push({ ...point, layers: at });
    };
    for (const [ray, which] of rays) {
      const point = onRay(ray, target);
      if (point) turning(point, which, (i) => layers.mac_s[i] / point.p);
    }
    for (const [p, which] of ratios(layers.mac_s, layers.vector_s)) {
      const b = factorFor(response(['bandwidth'], { p }), target);
      if (b) turning({ p, b }, which, (i) => layers.vector_s[i]);
    }
    for (const [b, which] of ratios(layers.mem_s, layers.vector_s)) {
      const p = factorFor(response(['peak'], { b }), target);
      if (p) turning({ p, b }, which, (i) => layers.vector_s[i]);
    }
    return found.sort((one, other) => other.p - one.p || one.b - other.b);
  };

  const cheapest = (target, knees) => { // the least product of the two factors: a parabola on each side of a polygon
    const leastPeak = factorFor(response(['peak'], { b: Infinity }), target);
    const leastBandwidth = factorFor(response(['bandwidth'], { p: Infinity }), target);
    if (!leastPeak || !leastBandwidth) return null;
    const corners = [[0, 1 / leastBandwidth], ...knees.map(({ p, b }) => [1 / p, 1 / b]), [1 / leastPeak, 0]];
    let best = [0, 0];
    for (let k = 1; k < corners.length; k += 1) {
      const [[u0, w0], [u1, w1]] = [corners[k - 1], corners[k]];
      let side = u0 * w0 > u1 * w1 ? [u0, w0] : [u1, w1];
      if (u1 > u0 && w1 < w0) {
        const fall = (w0 - w1) / (u1 - u0);
        const u = Math.min(Math.max((u0 + w0 / fall) / 2, u0), u1);
        side = [u, w0 - fall * (u - u0)];
      }
      if (side[0] * side[1] > best[0] * best[1]) best = side;
    }
    return best[0] ? onRay(best[1] / best[0], target) : null;
  };

  const waysAt = (target, knees) => {
    const both = factorFor(alone.both, target);
    const point = cheapest(target, knees);
    return [
      { name: 'peak', p: factorFor(alone.peak, target), b: 1 },
      { name: 'bandwidth', p: 1, b: factorFor(alone.bandwidth, target) },
      { name: 'both', p: both, b: both },
      ...(point ? [{ name: 'cheapest', ...point }] : []),
    ];
  };

  // --- words ------------------------------------------------------------------------------------------------------------

  const atLeast = (value, digits = 3) => { // rounded up, so that what is shown is enough
    if (!(value > 0 && Number.isFinite(value))) return value;
    const step = 10 ** (Math.floor(Math.log10(value)) - digits + 1);
    return Number((Math.ceil((value / step) * (1 - 1e-12)) * step).toPrecision(digits));
  };
  const factorText = (value) => (value === 0 || value === 1 ? `${value}×` : `${significant(atLeast(value))}×`);
  const figureText = (factor, figure, unit) => (factor === 0 ? 'any' : factor === 1 ? si(figure, unit) : si(atLeast(factor * figure), unit));
  const isPossible = ({ p, b }) => p !== null && b !== null;
  const sentence = (ways) => {
    const [one, other, both] = ways;
    const target = seconds(state.target);
    if (!isAsked()) return `${target}, as it is`;
    if (!isPossible(both)) return `${target}: no peak and bandwidth are enough; ${seconds(limitOf(alone.both))} stay`;
    const parts = [];
    if (isPossible(one)) parts.push(`peak ${figureText(one.p, peak, 'MAC/s')} (${factorText(one.p)})`);
    if (isPossible(other)) parts.push(`bandwidth ${figureText(other.b, bandwidth, 'B/s')} (${factorText(other.b)})`);
    parts.push(`both ${factorText(both.p)}`);
    return `${target}: ${parts.join(' or ')}`;
  };

  // --- what follows -----------------------------------------------------------------------------------------------------

  const put = (cell, text, value = '') => { cell.textContent = text; cell.dataset.value = value; };
  const columnsOf = (table) => Object.fromEntries([...table.tHead.rows[0].cells].map((heading, i) => [heading.dataset.key, i]));
  const resort = (table) => {
    const column = [...table.tHead.rows[0].cells].findIndex((heading) => heading.hasAttribute('aria-sort'));
    if (column >= 0) Roofline.sort(table, column, table.tHead.rows[0].cells[column].getAttribute('aria-sort'));
  };
  const fillWays = (ways) => {
    const body = by('ways').tBodies[0];
    const rows = ways.map((way) => {
      const row = document.createElement('tr');
      const head = document.createElement('th');
      head.scope = 'row';
      head.textContent = data.ways[way.name];
      row.append(head);
      for (const [factor, figure, own] of [[way.p, peak, 'peak'], [way.b, bandwidth, 'bandwidth']]) {
        const cells = [document.createElement('td'), document.createElement('td')];
        for (const cell of cells) cell.className = 'number';
        if (!isPossible(way)) {
          put(cells[0], [own, 'both'].includes(way.name) ? 'not enough' : '–');
          put(cells[1], '–');
        } else {
          put(cells[0], figureText(factor, figure, ''), factor * figure);
          put(cells[1], factorText(factor), factor);
        }
        row.append(...cells);
      }
      return row;
    });
    body.replaceChildren(...rows);
    resort(by('ways'));
  };
  const withinOf = (item) => (item.latency_s > state.target ? 'no' : item.latency_kind === 'prediction' ? 'yes' : 'possible');
  const fillWithin = (id, items, key) => {
    const table = by(id);
    if (!table) return;
    const { within } = columnsOf(table);
    const latencies = new Map(items.map((item) => [item[key], item.latency_s]));
    for (const row of table.tBodies[0].rows) {
      const latency = latencies.get(row.cells[0].textContent) ?? null;
      if (latency !== null) row.cells[within].textContent = withinOf(items.find((item) => item[key] === row.cells[0].textContent));
    }
    for (const choice of document.querySelectorAll(`[data-choice="${id}"][data-column="${within}"]`)) {
      const kept = choice.value;
      const values = [...new Set([...table.tBodies[0].rows].map((row) => row.cells[within].textContent))].sort();
      choice.replaceChildren(choice.options[0], ...values.map((value) => new Option(value)));
      choice.value = values.includes(kept) ? kept : '';
    }
    resort(table);
    Roofline.filter(table);
  };

  const drawIso = (ways, knees) => {
    const line = traceOf('iso', 'target curve');
    const points = isAsked() ? curveAt(state.target) : [];
    line.x = points.map(({ b }) => b * bandwidth);
    line.y = points.map(({ p }) => p * peak);
    line.name = `${seconds(state.target)}, the target`;
    const ticks = traceOf('iso', 'knees');
    ticks.x = knees.map(({ b }) => b * bandwidth);
    ticks.y = knees.map(({ p }) => p * peak);
    ticks.hovertext = knees.map(({ layers: at }) => card(`${at.length} layer${at.length > 1 ? 's' : ''} at the ridge here`,
      [...at.slice(0, 6).map((i) => layers.name[i]), ...(at.length > 6 ? [`and ${at.length - 6} more`] : [])]));
    const marks = traceOf('iso', 'ways');
    const shown = isAsked() ? ways.filter(({ p, b }) => p && b) : [];
    marks.x = shown.map(({ b }) => b * bandwidth);
    marks.y = shown.map(({ p }) => p * peak);
    marks.marker.symbol = shown.map(({ name }) => data.symbols[name]);
    marks.hovertext = shown.map(({ name, p, b }) => card(data.ways[name], [
      `${figureText(p, peak, 'MAC/s')} (${factorText(p)})`, `${figureText(b, bandwidth, 'B/s')} (${factorText(b)})`]));
    traceOf('iso', 'profiles').marker.color = data.profiles.map((profile) => `var(--${data.colors[withinOf(profile)]})`);
    fit(shown);
    draw('iso');
  };
  // The axes keep what they showed at first, and widen where a way to the target lies outside.
  const home = { x: [...specs.iso.layout.xaxis.range], y: [...specs.iso.layout.yaxis.range] };
  let fits = 0;
  const fit = (shown) => {
    const { layout } = specs.iso;
    const drawn = Roofline.element('iso').layout;
    const isHome = (axis, own) => [layout[axis].range, own].some((range) => String(drawn[axis].range) === String(range));
    if (drawn && !(isHome('xaxis', home.x) && isHome('yaxis', home.y))) return; // a zoom stays
    fits += 1;
    for (const [axis, own, factor, figure] of [['xaxis', home.x, 'b', bandwidth], ['yaxis', home.y, 'p', peak]]) {
      const at = shown.map((way) => Math.log10(way[factor] * figure));
      layout[axis].range = [Math.min(own[0], ...at.map((value) => value - 0.5)), Math.max(own[1], ...at.map((value) => value + 0.5))];
      layout[axis].uirevision = fits; // no zoom of before is to outlast it
    }
  };
  const drawOthers = () => {
    const target = specs.response.layout.shapes.find(({ name }) => name === 'target');
    Object.assign(target, { y0: state.target, y1: state.target, visible: isAsked() });
    draw('response');
    const bars = traceOf('alternatives', 'alternatives');
    bars.marker.color = bars.meta.items.map((i) => {
      const other = data.alternatives[i];
      const within = withinOf(other);
      return `var(--${other.is_present ? 'accent' : within === 'no' ? 'muted' : data.colors[within]})`;
    });
    draw('alternatives');
  };

  // --- controls ---------------------------------------------------------------------------------------------------------

  const isMoved = () => state.target !== given;
  const isAsked = () => data.target_s !== null || isMoved();
  const shownMs = (value) => significant(value * 1e3, 6);
  const fillControls = (except) => {
    const octaves = Math.log2(state.target / present);
    by('target-slider').value = octaves;
    by('target-slider').setAttribute('aria-valuetext', `${seconds(state.target)}, ${significant(state.target / present)} times the present latency`);
    if (except !== by('target-number')) by('target-number').value = shownMs(state.target);
    by('reset').disabled = !isMoved();
    form.classList.toggle('is-moved', isMoved());
  };
  let queued = false;
  const update = (except) => {
    fillControls(except);
    if (queued) return;
    queued = true;
    requestAnimationFrame(() => {
      queued = false;
      const knees = kneesAt(state.target);
      const ways = waysAt(state.target, knees);
      by('target-answer').textContent = sentence(ways);
      fillWays(ways);
      fillWithin('profiles', data.profiles, 'id');
      fillWithin('alternatives', data.alternatives, 'name');
      drawIso(ways, knees);
      drawOthers();
      Roofline.announce(by('target-answer').textContent);
    });
  };
  by('target-slider').addEventListener('input', (event) => { state.target = present * 2 ** Number(event.target.value); update(); });
  const number = by('target-number');
  number.addEventListener('input', () => {
    const value = Number(number.value) / 1e3;
    const valid = value > 0 && Number.isFinite(value);
    number.setAttribute('aria-invalid', String(!valid));
    if (!valid) return; // half typed
    state.target = number.value === shownMs(given) ? given : value;
    update(number);
  });
  number.addEventListener('change', () => { number.removeAttribute('aria-invalid'); fillControls(); });
  by('reset').addEventListener('click', () => { state.target = given; update(); by('target-slider').focus(); });
  form.addEventListener('submit', (event) => event.preventDefault());

  form.hidden = false;
  fillControls();
  by('target-answer').textContent = sentence(waysAt(given, []));
})();
