// The page of a validation: short names beside bars on a phone, and the roofline of the model that is chosen.
'use strict';
for (const [id, names] of Object.entries(Roofline.data.names)) {
  Roofline.beforeDraw(id, (width) => {
    Roofline.specs[id].layout.yaxis.ticktext = names[width < 560 ? 'narrow' : 'wide'];
  });
}
const model = document.getElementById('layered-model');
model?.addEventListener('change', () => {
  Roofline.specs.roofline.data = Roofline.data.rooflines[model.value];
  Roofline.draw('roofline');
  Roofline.announce(`Layers of ${model.selectedOptions[0].textContent}`);
});
