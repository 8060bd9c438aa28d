// The page of a fit: on a phone the names beside the bars are short.
'use strict';
Roofline.beforeDraw('residuals', (width) => {
  Roofline.specs.residuals.layout.yaxis.ticktext = Roofline.data.names[width < 560 ? 'narrow' : 'wide'];
});
