// The page of a validation: short names beside bars and few ticks on a phone, and the roofline of the chosen model.
'use strict';
for (const [id, names] of Object.entries(Roofline.data.names)) {
  Roofline.beforeDraw(id, (width) => {
    const { xaxis, yaxis } = Roofline.specs[id].layout;
    yaxis.ticktext = names[width < 560 ? 'narrow' : 'wide'];
    xaxis.nticks = width < 560 ? 4 : 0; // 0: as many as fit
  });
}
Roofline.beforeDraw('scatter', (width) => {
  const { xaxis, yaxis } = Roofline.specs.scatter.layout;
  for (const axis of [xaxis, yaxis]) Object.assign(axis, Roofline.data.times[width < 560 ? 'narrow' : 'wide']);
});
const model = document.getElementById('layered-model');
model?.addEventListener('change', () => {
  Roofline.specs.roofline.data = Roofline.data.rooflines[model.value];
  Roofline.draw('roofline');
  Roofline.announce(`Layers of ${model.selectedOptions[0].textContent}`);
});
