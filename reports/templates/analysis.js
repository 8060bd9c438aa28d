// The page of an analysis: its times again, for a peak and a bandwidth that the reader moves, and all that follows.
'use strict';
(() => {
  const { layers, hardware, time, strip, arc, latency_s: profileLatency, latency_kind: latencyKind } = Roofline.data;
  const { specs, draw, si, seconds, percent, significant, card } = Roofline;
  const by = (id) => document.getElementById(id);
  const tracesOf = (id, role) => specs[id].data.filter((trace) => trace.meta?.role === role);

  by('unfused')?.addEventListener('change', (event) => {
    for (const trace of tracesOf('roofline', 'unfused')) trace.visible = event.target.checked;
    draw('roofline');
  });
  for (const button of document.querySelectorAll('[data-kind]')) {
    button.addEventListener('click', () => {
      const on = button.getAttribute('aria-pressed') !== 'true';
      button.setAttribute('aria-pressed', String(on));
      for (const trace of tracesOf('roofline', 'dots')) if (trace.meta.kind === button.dataset.kind) trace.visible = on;
      draw('roofline');
    });
  }

  const form = by('what-if');
  if (!form) return; // a model without layers, or times by a calibration, which says nothing of other rates
  const count = layers.name.length;
  const profile = { peak: hardware.peak_macs_per_s, bandwidth: hardware.bandwidth_bytes_per_s };
  const state = { ...profile };
  const sum = (values) => values.reduce((a, b) => a + b, 0);

  // --- the engine: the profile's times, moved with the peak and with all rates of memory ------------------------------

  const predict = ({ peak, bandwidth }) => {
    const vectorRate = hardware.vector_ops_per_s ?? Infinity;
    const latency = new Array(count);
    const memoryBound = new Array(count);
    for (let i = 0; i < count; i += 1) {
      const macTime = layers.mac_time_s[i] * (profile.peak / peak);
      const vectorTime = layers.vector_ops[i] / vectorRate;
      const memTime = layers.mem_time_s[i] * (profile.bandwidth / bandwidth);
      latency[i] = (hardware.overhead_layers === 'macs' && !layers.macs[i] ? 0 : hardware.layer_overhead_s)
        + (hardware.combine === 'add' ? macTime + vectorTime + memTime : Math.max(macTime, vectorTime, memTime));
      memoryBound[i] = memTime > Math.max(macTime, vectorTime);
    }
    const time = sum(latency);
    return { latency, memoryBound, time, total: time + hardware.inference_overhead_s, memoryTime: sum(latency.filter((_, i) => memoryBound[i])) };
  };

  const macs = sum(layers.macs);
  const bytes = sum(layers.mem_bytes);
  const intensity = (i) => (layers.mem_bytes[i] ? layers.macs[i] / layers.mem_bytes[i] : 0);
  const isMoved = () => state.peak !== profile.peak || state.bandwidth !== profile.bandwidth;

  // --- what follows from it -------------------------------------------------------------------------------------------

  const hovers = ({ latency, memoryBound, total }) => layers.name.map((name, i) => card(name, [
    `${layers.kind[i]}: ${layers.ops[i].replaceAll('+', ' + ')}`,
    `${si(layers.macs[i])} MACs, ${si(layers.mem_bytes[i], 'B')}, ${significant(intensity(i))} MACs/byte`,
    `${seconds(latency[i])}, ${percent(latency[i] / (total || 1))} of the latency, ${memoryBound[i] ? 'memory' : 'compute'}-bound`,
  ]));

  const drawRoofline = (result, texts) => {
    const { peak, bandwidth } = state;
    const ridge = peak / bandwidth;
    const { layout } = specs.roofline;
    const [low, high] = [10 ** layout.xaxis.range[0], 10 ** layout.xaxis.range[1]];
    const line = (trace, rate) => { // wider than the axes, should the reader zoom out
      trace.x = [low / 1e3, rate / bandwidth, high * 1e3];
      trace.y = [(low / 1e3) * bandwidth, rate, rate];
    };
    tracesOf('roofline', 'roof').forEach((trace) => line(trace, peak));
    tracesOf('roofline', 'other roof').forEach((trace) => line(trace, trace.meta.peak));
    for (const trace of tracesOf('roofline', 'dots')) {
      if (trace.xaxis !== 'x2') trace.y = trace.customdata.map((i) => layers.macs[i] / result.latency[i]);
      trace.marker.size = trace.customdata.map((i) => result.latency[i]);
      trace.marker.symbol = trace.customdata.map((i) => (result.memoryBound[i] ? 'circle' : 'diamond'));
      trace.hovertext = trace.customdata.map((i) => texts[i]);
    }
    for (const trace of tracesOf('roofline', 'unfused')) {
      trace.y = [];
      for (let i = 0; i < count; i += 1) {
        if (!layers.macs[i] || !layers.mem_bytes[i] || layers.unfused_bytes[i] <= layers.mem_bytes[i]) continue;
        const left = layers.macs[i] / layers.unfused_bytes[i];
        const right = intensity(i);
        for (let step = 0; step <= arc.steps; step += 1) {
          const along = step / arc.steps;
          trace.y.push(Math.min(peak, bandwidth * left * (right / left) ** along) * (left / right) ** (arc.sag * 4 * along * (1 - along)));
        }
        trace.y.push(null);
      }
    }
    for (const shape of layout.shapes) {
      if (shape.name === 'ridge') shape.x0 = shape.x1 = ridge;
      if (shape.name === 'memory') shape.x1 = ridge;
      if (shape.name === 'compute') shape.x0 = ridge;
    }
    for (const label of layout.annotations) {
      if (['ridge', 'memory', 'compute'].includes(label.name)) label.x = Math.log10(ridge);
      if (label.name === 'ridge') label.text = `ridge point ${significant(ridge)}`;
      if (label.name === `${hardware.dtype} peak`) {
        label.y = Math.log10(peak);
        label.text = `${Roofline.escape(hardware.dtype)} ${si(peak, 'MAC/s')}`;
      }
    }
    fit(result);
    draw('roofline');
  };

  // The axes keep the profile's range, and widen where something moves out of it.
  const home = { x: [...specs.roofline.layout.xaxis.range], y: [...specs.roofline.layout.yaxis.range] };
  const fit = (result) => {
    const { layout } = specs.roofline;
    const drawn = Roofline.element('roofline').layout;
    if (drawn && ['xaxis', 'yaxis'].some((axis) => String(drawn[axis].range) !== String(layout[axis].range))) return; // a zoom stays
    const ridge = Math.log10(state.peak / state.bandwidth);
    layout.xaxis.range = [Math.min(home.x[0], ridge - 0.4), Math.max(home.x[1], ridge + 0.6)];
    const rates = layers.macs.flatMap((value, i) => (value ? [Math.log10(value / result.latency[i])] : []));
    layout.yaxis.range = [Math.min(home.y[0], ...rates.map((rate) => rate - 0.4)), Math.max(home.y[1], Math.log10(state.peak) + 0.4)];
    for (const label of layout.annotations) if (label.name.endsWith(' peak')) label.x = layout.xaxis.range[1];
  };

  // The strip for layers without MACs, and the axis beside it, keep their width whatever that of the page.
  Roofline.beforeDraw('roofline', (width) => {
    const { layout } = specs.roofline;
    const narrow = width < 560;
    const drawn = Math.max(200, width - 20);
    if (layout.xaxis2) {
      const wide = strip.width_px * (narrow ? 0.6 : 1);
      layout.xaxis2.domain = [0, wide / drawn];
      layout.xaxis.domain = [(wide + strip.gap_px) / drawn, 1];
    }
    for (const label of layout.annotations) {
      if (label.name === 'memory' || label.name === 'compute') label.text = narrow ? label.name : `${label.name}-bound`;
      if (label.name === `${hardware.dtype} peak`) label.yshift = narrow ? 14 : 2; // above the dots at the ridge
    }
  });

  const drawTimes = (result, texts) => {
    const [bars] = tracesOf('course', 'bars');
    let at = 0;
    bars.x = result.latency;
    bars.base = result.latency.map((value) => { const from = at; at += value; return from; });
    bars.hovertext = texts;
    specs.course.layout.xaxis.range = [0, 1.02 * (at || 1)];
    specs.course.layout.shapes.forEach((shape, part) => {
      const [first, last] = specs.course.layout.meta.parts[part];
      shape.x0 = bars.base[first];
      shape.x1 = bars.base[last] + bars.x[last];
    });
    draw('course');
    for (const tree of tracesOf('tree', 'tree')) {
      const node = new Map(tree.ids.map((id, at) => [id, at]));
      const took = tree.customdata.map((i) => (i === null ? 0 : result.latency[i]));
      tree.values = [...took];
      for (let at = took.length - 1; at > 0; at -= 1) took[node.get(tree.parents[at])] += took[at]; // parents come first
      tree.hovertext = tree.customdata.map((i, at) => (i !== null ? texts[i]
        : card(at ? tree.ids[at].replace(/^model\./, '') : 'the whole model', [`${seconds(took[at])}, ${percent(took[at] / (result.total || 1))} of the latency`])));
    }
    draw('tree');
    const kinds = groups(layers.kind, result);
    for (const trace of tracesOf('kinds', 'kind')) {
      trace.x = trace.meta.names.map((name) => (trace.meta.bound === 'memory' ? kinds.get(name).memory : kinds.get(name).time - kinds.get(name).memory));
      trace.hovertext = trace.meta.names.map((name) => card(name, [
        `${seconds(kinds.get(name).time)} in ${kinds.get(name).layers} layers`, `${percent(share(kinds.get(name)))} of it memory-bound`]));
    }
    draw('kinds');
  };

  const groups = (names, { latency, memoryBound }) => {
    const found = new Map();
    names.forEach((name, i) => {
      const group = found.get(name) ?? { layers: 0, time: 0, memory: 0 };
      group.layers += 1;
      group.time += latency[i];
      if (memoryBound[i]) group.memory += latency[i];
      found.set(name, group);
    });
    return found;
  };
  const share = ({ memory, time: all }) => (all ? memory / all : 0);

  const put = (cell, text, value) => { cell.textContent = text; cell.dataset.value = value; };
  const columnsOf = (table) => Object.fromEntries([...table.tHead.rows[0].cells].map((heading, i) => [heading.dataset.key, i]));
  const fillTables = (result) => {
    const table = by('layers');
    const column = columnsOf(table);
    const longest = Math.max(...result.latency) || 1;
    for (const row of table.tBodies[0].rows) {
      const i = Number(row.dataset.item);
      const cell = row.cells[column.latency_s];
      put(cell, (result.latency[i] / time.scale).toFixed(time.decimals), result.latency[i]);
      cell.style.setProperty('--part', (result.latency[i] / longest).toFixed(4));
      put(row.cells[column.share], percent(result.latency[i] / (result.total || 1)), result.latency[i] / (result.total || 1));
      row.cells[column.bound].textContent = result.memoryBound[i] ? 'memory' : 'compute';
    }
    resort(table);
    Roofline.filter(table);
    for (const [id, names] of [['by-kind', layers.kind], ['by-stage', layers.stage]]) {
      const grouped = groups(names, result);
      const columns = columnsOf(by(id));
      for (const row of by(id).tBodies[0].rows) {
        const group = grouped.get(row.cells[0].textContent);
        put(row.cells[columns.latency_s], seconds(group.time), group.time);
        put(row.cells[columns.share], percent(group.time / (result.total || 1)), group.time / (result.total || 1));
        put(row.cells[columns.memory_bound_share], percent(share(group)), share(group));
      }
      resort(by(id));
    }
  };
  const resort = (table) => {
    const column = [...table.tHead.rows[0].cells].findIndex((heading) => heading.hasAttribute('aria-sort'));
    if (column >= 0) Roofline.sort(table, column, table.tHead.rows[0].cells[column].getAttribute('aria-sort'));
  };

  const originals = new Map([...document.querySelectorAll('.tile')].map((tile) => [tile.id, {
    text: tile.querySelector('data').textContent, note: tile.querySelector('.tile-note').textContent, badge: tile.querySelector('.badge')?.textContent,
    className: tile.className,
  }]));
  const setTile = (id, text, value, changed) => {
    const tile = by(`tile-${id}`);
    const was = originals.get(tile.id);
    tile.querySelector('data').textContent = text;
    tile.querySelector('data').value = value;
    tile.querySelector('.tile-note').textContent = changed ? `profile: ${was.text}` : was.note;
    tile.className = changed ? 'tile is-what-if' : was.className;
    const badge = tile.querySelector('.badge');
    if (badge) badge.textContent = changed ? 'what if' : was.badge;
  };
  const fillTiles = (result) => {
    const { peak, bandwidth } = state;
    const memory = result.time ? result.memoryTime / result.time : 0;
    setTile('latency', seconds(result.total), result.total, isMoved());
    setTile('memory', percent(memory), memory, isMoved());
    const macTime = sum(layers.mac_time_s) * (profile.peak / peak);
    const memTime = sum(layers.mem_time_s) * (profile.bandwidth / bandwidth);
    setTile('mac-time', seconds(macTime), macTime, peak !== profile.peak);
    setTile('mem-time', seconds(memTime), memTime, bandwidth !== profile.bandwidth);
    setTile('ridge', significant(peak / bandwidth), peak / bandwidth, isMoved());
  };

  const verdict = by('verdict');
  const profileVerdict = verdict.textContent;
  const otherRates = hardware.weight_bandwidth_bytes_per_s || Object.keys(hardware.bandwidth_bytes_per_s_by_class ?? {}).length;
  const along = otherRates ? ', with all its rates of memory in proportion' : '';
  const kindName = { bound: 'bound', prediction: 'predicted' }[latencyKind] ?? latencyKind;
  const change = (total) => {
    const points = profileLatency ? 100 * (total / profileLatency - 1) : 0;
    return `${points > 0 ? '+' : points < 0 ? '−' : '±'}${significant(Math.abs(points), Math.abs(points) < 10 ? 2 : 3)} %`;
  };
  const sentence = (result, { peak, bandwidth }) => {
    const memory = result.time ? result.memoryTime / result.time : 0;
    const ridge = peak / bandwidth;
    const whole = bytes ? macs / bytes : 0;
    const mark = document.createElement('strong');
    mark.className = 'moved';
    mark.textContent = 'What if';
    return [mark, ` the peak were ${si(peak, 'MAC/s')} and the bandwidth ${si(bandwidth, 'B/s')}${along}: `
      + `${seconds(result.total)} instead of the ${kindName} ${seconds(profileLatency)} (${change(result.total)}), `
      + `${percent(memory)} of ${hardware.inference_overhead_s ? 'what the layers take' : 'it'} in memory-bound layers, ${percent(1 - memory)} in compute-bound ones. `
      + `It does ${significant(whole)} MACs/byte, ${whole < ridge ? 'below' : 'at or above'} a ridge point of ${significant(ridge)}.`];
  };
  const fillVerdict = (result) => {
    if (isMoved()) verdict.replaceChildren(...sentence(result, state));
    else verdict.textContent = profileVerdict;
    by('what-if-answer').textContent = isMoved() ? `What if: ${seconds(result.total)} (${change(result.total)})` : `${seconds(result.total)}, as in the profile`;
  };

  // --- controls ---------------------------------------------------------------------------------------------------------

  const UNITS = { bandwidth: 'GB/s', peak: 'GMAC/s' };
  const shown = (value) => significant(value / 1e9, 6);
  const fillControls = (except) => {
    for (const name of ['bandwidth', 'peak']) {
      const octaves = Math.log2(state[name] / profile[name]);
      by(name).value = octaves;
      by(name).setAttribute('aria-valuetext', `${shown(state[name])} ${UNITS[name]}${octaves ? `, ${significant(2 ** octaves)} times the profile's` : ", the profile's"}`);
      const number = by(`${name}-number`);
      if (number !== except) number.value = shown(state[name]);
    }
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
      const result = predict(state);
      const texts = hovers(result);
      fillVerdict(result);
      fillTiles(result);
      fillTables(result);
      drawRoofline(result, texts);
      drawTimes(result, texts);
      Roofline.announce(by('what-if-answer').textContent);
    });
  };

  for (const name of ['bandwidth', 'peak']) {
    by(name).addEventListener('input', (event) => {
      const octaves = Number(event.target.value);
      state[name] = octaves === 0 ? profile[name] : profile[name] * 2 ** octaves;
      update();
    });
    const number = by(`${name}-number`);
    number.addEventListener('input', () => {
      const value = Number(number.value) * 1e9;
      const valid = value > 0 && Number.isFinite(value);
      number.setAttribute('aria-invalid', String(!valid));
      if (!valid) return; // half typed
      state[name] = number.value === shown(profile[name]) ? profile[name] : value;
      update(number);
    });
    number.addEventListener('change', () => { number.removeAttribute('aria-invalid'); fillControls(); });
  }
  by('reset').addEventListener('click', () => { Object.assign(state, profile); update(); by('bandwidth').focus(); });
  form.addEventListener('submit', (event) => event.preventDefault());
  // The page keeps room for the longer sentence, so that nothing moves under the reader's finger.
  const reserve = () => {
    verdict.style.minHeight = '';
    const shown = [...verdict.childNodes];
    verdict.replaceChildren(...sentence(predict(profile), profile));
    const longer = verdict.clientHeight;
    verdict.replaceChildren(...shown);
    verdict.style.minHeight = `${Math.max(longer, verdict.clientHeight)}px`;
  };
  new ResizeObserver(reserve).observe(document.body);

  form.hidden = false;
  fillControls();
  by('what-if-answer').textContent = `${seconds(profileLatency)}, as in the profile`;
})();
