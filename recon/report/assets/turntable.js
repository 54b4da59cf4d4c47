// The mesh from around: one picture of a sheet at a time, chosen by the slider or by dragging.
(() => {
  const table = document.querySelector(".turntable");
  if (!table) return;
  const image = table.querySelector("img"), slider = document.querySelector("input.turn");
  const columns = Number(table.dataset.columns), rows = Number(table.dataset.rows), count = columns * rows;
  const show = (k) => {
    image.style.left = `${-100 * (k % columns)}%`;
    image.style.top = `${-100 * Math.floor(k / columns)}%`;
    slider.value = String(k);
  };
  image.style.width = `${100 * columns}%`;
  image.style.height = `${100 * rows}%`;
  slider.addEventListener("input", () => show(Number(slider.value)));
  let begin = null;
  table.addEventListener("pointerdown", (event) => {
    begin = { x: event.clientX, k: Number(slider.value) };
    table.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  table.addEventListener("pointermove", (event) => {
    if (begin) show(clamp(begin.k + Math.round(((event.clientX - begin.x) / table.clientWidth) * count), 0, count - 1));
  });
  for (const end of ["pointerup", "pointercancel"]) table.addEventListener(end, () => { begin = null; });
  const resize = () => {
    if (image.naturalWidth) table.style.aspectRatio = `${image.naturalWidth / columns} / ${image.naturalHeight / rows}`;
  };
  image.addEventListener("load", resize);
  resize();
  show(Number(slider.value));
})();
