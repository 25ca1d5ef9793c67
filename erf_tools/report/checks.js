// --- Checks: maps of real changes beside the gradient's -----------------------------------------

function cellPicture(check, { title, cells }, most) {
  const height = check.rows.at(-1);
  const width = check.columns.at(-1);
  const canvas = node("canvas", { width: cells[0].length, height: cells.length, role: "img",
    "aria-label": `${title}: influence of each of ${cells.length} rows of ${cells[0].length} cells on the unit of ${check.label}` });
  const image = new ImageData(cells[0].length, cells.length);
  const pixels = new Uint32Array(image.data.buffer);
  const display = DISPLAYS.log;
  cells.flat().forEach((value, place) => { pixels[place] = mapColours[colourIndex(display(value) / display(most))]; });
  canvas.getContext("2d").putImageData(image, 0, 0);
  const frame = node("div", { class: "frame cells" }, canvas);
  frame.style.aspectRatio = `${width} / ${height}`;
  Object.assign(canvas.style, { width: "100%", height: "100%", imageRendering: "pixelated" });
  return node("figure", {}, frame, node("figcaption", {}, node("span", { class: "name" }, title)));
}

function buildChecks() {
  show("checks", "Checks");
  const column = (name, title) => ({
    title,
    value: (row) => row[name],
    text: (row) => `${fixed(row[name], 2)}${range(row[`${name}_low`], row[`${name}_high`], 2)}`,
  });
  byId("check-list").append(...data.checks.flatMap((check) => {
    const most = Math.max(1, ...check.maps.flatMap(({ cells }) => cells.flat()));
    const columns = [
      { title: "Replaced by", value: (row) => row.replacement },
      { title: "Compared", value: (row) => row.compared, word: true },
      column("spearman", "Spearman"),
      column("side_ratio", "Ratio of sides"),
      column("area_ratio_50", "Ratio of r at 50\u00a0%"),
      column("area_ratio_99", "Ratio of r at 99\u00a0%"),
    ];
    return [
      node("h3", {}, check.label),
      node("p", { class: "hint" }, `${check.details}; ${check.images} images`),
      node("div", { class: "grid" }, ...check.maps.map((map) => cellPicture(check, map, most))),
      table(columns, check.agreement, `How far the map of ${check.label} agrees with real changes`),
      node("p", {}, check.linearity),
    ];
  }));
}

// --- Dead pixels: what each pixel contributes to all units --------------------------------------

function buildDead() {
  show("dead", "Dead pixels");
  byId("dead-grid").append(...data.dead.map((map) => node("figure", {},
    node("div", { class: "frame cells" }, node("img", { src: map.png,
      alt: `Contribution of each pixel to all units of ${map.label}: ${map.share} are dead` })),
    node("figcaption", {}, node("span", { class: "name" }, map.label),
      node("span", {}, `dead: ${map.share}`), node("span", { class: "reading" }, map.details)))));
  listNotes("dead-notes", data.dead[0].notes);
}
