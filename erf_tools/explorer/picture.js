// Gradio runs this once per picture, with `element` and `trigger`; the button inside is replaced
// with every answer, so the listeners are on what holds it.
const numbers = (button) =>
  Object.fromEntries(Object.entries(button.dataset).map(([name, text]) => [name, Number(text)]));

const clamped = (place, length) => Math.min(Math.max(place, 0), length - 1);

element.addEventListener("click", (event) => {
  const button = event.target.closest(".erf-picture");
  if (!button || event.detail === 0) return; // pressed by a key: there is no place
  const box = button.querySelector("img").getBoundingClientRect();
  trigger("select", {
    row: (event.clientY - box.top) / box.height,
    column: (event.clientX - box.left) / box.width,
  });
});

element.addEventListener("keydown", (event) => {
  const button = event.target.closest(".erf-picture");
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (!button || !step) return;
  event.preventDefault();
  const at = numbers(button);
  trigger("select", {
    row: (clamped(at.row + step[0] * at.down, at.height) + 0.5) / at.height,
    column: (clamped(at.column + step[1] * at.across, at.width) + 0.5) / at.width,
  });
});
