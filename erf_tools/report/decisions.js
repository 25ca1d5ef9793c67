// What networks decide by, and what their layers hold: a section for each pair of cues.

const CUES = ["shape", "texture"];

// A text of this page about shape and texture, in the words for other cues.
const worded = (text, cues) => text.replace(/\b(shape|texture)\b/gi, (word) => {
  const own = cues[CUES.indexOf(word.toLowerCase())];
  return word === word.toLowerCase() ? own : own[0].toUpperCase() + own.slice(1);
});

// Fills a section for each of `sets`, of which the page has one, empty: `build(at, set, said)`, where
// `at` gives the names of elements in it and `said` words a text.
function sectionsByCues(id, title, sets, build) {
  const empty = byId(id);
  const sections = sets.map((_, index) => (index ? empty.cloneNode(true) : empty));
  sections.forEach((section, index) => {
    const at = (name) => (index ? `${name}-${index + 1}` : name);
    if (index) {
      for (const part of [section, ...section.querySelectorAll("[id]")]) part.id = at(part.id);
      sections[index - 1].after(section);
    }
    const said = (text) => worded(text, sets[index].cues);
    const texts = document.createTreeWalker(section, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) texts.currentNode.data = said(texts.currentNode.data);
    section.querySelector(".caution").textContent = sets[index].caution;
    show(at(id), said(title));
    build(at, sets[index], said);
  });
}

const biasLine = (maker) => `${maker.cues ? maker.cues[0] : "shape"} bias ${fixed(maker.shape_bias, 3)}${range(maker.shape_bias_low, maker.shape_bias_high, 3)}`;
const coverageLine = (maker) =>
  `coverage ${fixed(maker.coverage, 3)}${maker.low_coverage ? ", LOW" : ""}: ${maker.shape} ${maker.cues[0]}, ${maker.texture} ${maker.cues[1]}, of ${maker.total}`;

function buildIntervals(id, makers, said) {
  const order = makers.filter((maker) => known(maker.shape_bias))
    .sort((one, other) => other.shape_bias - one.shape_bias);
  const draw = (width) => {
    const longest = Math.max(...order.map(({ label }) => label.length));
    const left = Math.min(longest * 6.6 + 14, width * 0.46);
    const height = 50 + 24 * order.length;
    const grid = axes(width, height, { left, right: 14, top: 4, bottom: 42 },
      { low: 0, high: 1, ticks: linearTicks(0, 1, (width - left) / 70), title: said("shape bias (1: always shape)") },
      { low: order.length - 0.5, high: -0.5 });
    const shapes = [...grid.shapes];
    const points = order.map((maker, row) => {
      const [x, y] = [grid.across(maker.shape_bias), 16 + 24 * row];
      const own = maker.human ? "human" : "s0";
      if (known(maker.shape_bias_low)) {
        shapes.push(line(grid.across(maker.shape_bias_low), y, grid.across(maker.shape_bias_high), y, `stroke ${own}`));
      }
      const hollow = (maker.published && !maker.human) || maker.untrained;
      shapes.push(
        symbol(maker.human ? CIRCLE : SYMBOLS[0], `${hollow ? "hollow" : "solid"} ${own}`, x, y),
        text(left - 10, y + 4, short(maker.label, left - 12), "end", maker.human ? "people" : null));
      return { x, y, lines: [maker.label, biasLine(maker), coverageLine(maker), ...maker.absolute] };
    });
    return { height, shapes, points };
  };
  plot(id, said("Shape bias of each decision maker with its 95 % interval, highest first; the table above has the numbers."), draw);
}

function buildMatrix(id, makers, categories, said) {
  const shown = makers.filter(({ observer }) => !observer);
  const networks = shown.filter(({ human }) => !human);
  const own = (index) => `s${[0, 2, 3, 4, 5, 6, 7][index % 7]}`; // s1 looks like the colour of people
  const drawing = (maker) => {
    const index = networks.indexOf(maker);
    const filled = maker.published || maker.untrained ? "hollow" : "solid";
    return maker.human
      ? { d: CIRCLE, classes: "solid human", line: "stroke human" }
      : { d: SYMBOLS[index % 8], classes: `${filled} ${own(index)}`, line: `stroke ${own(index)}` };
  };
  const draw = (width) => {
    const rows = categories.length;
    const height = 66 + 27 * rows;
    const longest = Math.max(...categories.map((category) => category.length));
    const left = clamp(longest * 6.6 + 14, 78, width * 0.4);
    const margin = { left, right: 16, top: 24, bottom: 42 };
    const grid = axes(width, height, margin,
      { low: 0, high: 1, ticks: linearTicks(0, 1, width / 110), title: said("share of texture decisions") },
      { low: rows - 0.5, high: -0.5 });
    const shapes = [...grid.shapes,
      text(margin.left, 14, said("\u2190 decided by shape"), "start"), text(grid.right, 14, said("by texture \u2192"), "end")];
    categories.forEach((category, row) => {
      const y = grid.down(row);
      shapes.push(line(margin.left, y, grid.right, y, "rule"), text(margin.left - 10, y + 4, short(category, left - 12), "end"));
    });
    const points = [];
    for (const maker of shown) {
      const { d, classes, line: stroke } = drawing(maker);
      if (known(maker.shape_bias)) {
        const x = grid.across(1 - maker.shape_bias);
        shapes.push(line(x, margin.top, x, grid.bottom, stroke));
      }
      maker.by_category.forEach(([byShape, byTexture, bias], row) => {
        if (!known(bias)) return;
        const [x, y] = [grid.across(1 - bias), grid.down(row)];
        shapes.push(symbol(d, classes, x, y));
        points.push({ x, y, lines: [maker.label, `${categories[row]}: ${percent(bias, 0)} by ${maker.cues[0]}`,
          `${byShape} ${maker.cues[0]}, ${byTexture} ${maker.cues[1]}`, ...maker.absolute] });
      });
    }
    return { height, shapes, points };
  };
  plot(id, said("Share of texture decisions by category, a mark per decision maker and category."), draw);
  byId(id).append(
    legend(shown.map((maker) => {
      const { d, classes } = drawing(maker);
      return { label: maker.label, swatch: [symbol(d, classes, 15, 7)] };
    })),
    asTable([
      { title: "Decision maker", value: (maker) => maker.label },
      ...categories.map((category, row) => ({ title: category, text: (maker) => fixed(maker.by_category[row][2], 2) })),
    ], shown, said("Share of shape decisions by category")));
}

function buildShapeBias() {
  sectionsByCues("shape-bias", "Shape bias", data.bias_sets, (at, { cues, categories, notes }, said) => {
    const alike = (values, others) => JSON.stringify(values) === JSON.stringify(others);
    const makers = data.makers.filter((maker) => alike(maker.cues, cues) && alike(maker.categories, categories));
    listNotes(at("bias-notes"), notes);
    byId(at("bias-table")).append(table([
      { title: "Decision maker", value: (maker) => maker.label },
      { title: "Weights", value: (maker) => maker.weights || null, word: true },
      { title: said("Shape bias"), value: (maker) => maker.shape_bias, text: (maker) => `${fixed(maker.shape_bias, 3)}${range(maker.shape_bias_low, maker.shape_bias_high, 3)}` },
      { title: "Coverage", value: (maker) => maker.coverage, text: (maker) => `${fixed(maker.coverage, 3)}${maker.low_coverage ? " LOW" : ""}` },
      { title: said("By shape"), value: (maker) => maker.shape },
      { title: said("By texture"), value: (maker) => maker.texture },
      { title: "Of", value: (maker) => maker.total },
      { title: "Errors as people's, kappa", value: (maker) => maker.kappa_human, text: (maker) => `${fixed(maker.kappa_human, 3)}${range(maker.kappa_human_low, maker.kappa_human_high, 3)}` },
    ], makers, said("Shape bias of each decision maker"), true));
    buildIntervals(at("interval-plot"), makers, said);
    buildMatrix(at("matrix-plot"), makers, categories, said);
  });
}

function buildSingleCue() {
  show("single-cue", "Single cues");
  const number = (name) => (row) => `${fixed(row[name], 3)}${range(row[`${name}_low`], row[`${name}_high`], 3)}`;
  const measure = (name, title) => ({ title, value: (row) => row[name], text: number(name) });
  byId("single-cue-table").append(table([
    { title: "Model", value: (row) => row.label },
    { title: "Stimuli", value: (row) => row.stimuli, word: true },
    measure("accuracy", "Accuracy"), measure("mrr", "MRR"), measure("mrr_classes", "MRR, all classes"),
  ], data.single_cue, "Recognised by one cue alone", true));
}

// One chart of how numbers grow through the layers; each of `kinds` is {name, symbol, said}.
function growthOfLayers(id, networks, kinds, { title, low, high, neither }, label) {
  const longest = Math.max(...networks.map(({ points }) => points.length), 2);
  const draw = (width) => {
    const height = clamp(width * 0.45, 260, 380);
    const grid = axes(width, height, { left: 52, right: 16, top: 30, bottom: 42 },
      { low: 0, high: longest - 1, ticks: linearTicks(0, longest - 1, Math.min(longest - 1, 10)).filter(Number.isInteger), title: "measured layer (0: nearest to the image)" },
      { low, high, ticks: linearTicks(low, high, 5), title });
    const shapes = [...grid.shapes, line(52, grid.down(neither), grid.right, grid.down(neither), "axis dash1")];
    const points = [];
    networks.forEach(({ label: name, points: own }, index) => kinds.forEach((kind) => {
      const known_ = own.map((point, place) => [place, point]).filter(([, point]) => known(point[kind.name]));
      shapes.push(shape("path", {
        class: `stroke ${series(index)}`,
        d: known_.map(([place, point], order) => `${order ? "L" : "M"}${grid.across(place)} ${grid.down(point[kind.name])}`).join(""),
      }));
      known_.forEach(([place, point]) => {
        const [x, y] = [grid.across(place), grid.down(point[kind.name])];
        const [least, most] = [point[`${kind.name}_low`], point[`${kind.name}_high`]];
        if (known(least)) shapes.push(line(x, grid.down(clamp(least, low, high)), x, grid.down(clamp(most, low, high)), `stroke ${series(index)}`));
        shapes.push(symbol(kind.symbol, `solid ${series(index)}`, x, y));
        points.push({ x, y, lines: [name, `${point.layer}, ${point.dimensions} channels`,
          `${kind.said} ${fixed(point[kind.name], 3)}${range(least, most, 3)}`] });
      });
    }));
    return { height, shapes, points };
  };
  plot(id, label, draw);
}

function buildLayers() {
  sectionsByCues("layers", "Layers", data.layers, (at, { networks, notes }, said) => {
    listNotes(at("layer-notes"), notes);
    growthOfLayers(at("triplet-plot"), networks,
      [{ name: "triplets_shape", symbol: CIRCLE, said: said("triplets won by shape") }],
      { title: said("triplets won by shape"), low: 0, high: 1, neither: 0.5 },
      said("Triplets won by shape, from layer to layer, a line per network."));
    const all = networks.flatMap(({ points }) => points);
    const most = Math.max(0.3, ...all.flatMap((point) => [point.shape_dimensions, point.texture_dimensions])) * 1.15;
    growthOfLayers(at("dimension-plot"), networks,
      [{ name: "shape_dimensions", symbol: CIRCLE, said: said("dimensions of shape") },
        { name: "texture_dimensions", symbol: SYMBOLS[1], said: said("dimensions of texture") }],
      { title: said("dimensions: circle shape, triangle texture"), low: 0, high: Math.min(most, 1), neither: 1 / (2 + Math.E) },
      said("Dimensions of shape and of texture, from layer to layer, two lines per network."));
    const number = (name) => (row) => `${fixed(row[name], 3)}${range(row[`${name}_low`], row[`${name}_high`], 3)}`;
    byId(at("layer-table")).append(
      legend(networks.map(({ label }, index) => ({ label, swatch: lineSwatch(series(index)) }))),
      table([
        { title: "Model", value: (row) => row.label },
        { title: "Layer", value: (row) => row.layer, word: true },
        { title: "Channels", value: (row) => row.dimensions },
        { title: said("Triplets won by shape"), value: (row) => row.triplets_shape, text: number("triplets_shape") },
        { title: said("Dimensions, shape"), value: (row) => row.shape_dimensions, text: number("shape_dimensions") },
        { title: said("Dimensions, texture"), value: (row) => row.texture_dimensions, text: number("texture_dimensions") },
      ], networks.flatMap(({ label, points }) => points.map((point) => ({ label, ...point }))), "Layers without a head", true));
  });
}
