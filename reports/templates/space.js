// The page of a design space: the place whose front is shown, and short names beside dots on a phone.
'use strict';
for (const [id, names] of Object.entries(Roofline.data.names)) {
  Roofline.beforeDraw(id, (width) => {
    Roofline.specs[id].layout.yaxis.ticktext = names[width < 560 ? 'narrow' : 'wide'];
  });
}
const place = document.getElementById('place');
place.addEventListener('change', () => {
  const { data, layout } = Roofline.specs.front;
  for (const trace of data) trace.visible = trace.meta.place === place.value;
  layout.yaxis = Roofline.data.axes[place.value];
  layout.uirevision = place.value; // a zoom is of one place
  Roofline.draw('front');
  const table = document.getElementById('networks');
  const headings = [...table.tHead.rows[0].cells];
  Roofline.sort(table, headings.findIndex((heading) => heading.dataset.key === `latency_s:${place.value}`), 'ascending');
  Roofline.announce(`Latency on ${place.selectedOptions[0].textContent}`);
});
