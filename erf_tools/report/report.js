// --- Summary and provenance -------------------------------------------------------------------

// Narrowest first; empty where inputs differ in size, so that sides do not compare.
function bySide() {
  const shown = data.erfs.filter(({ measures }) => known(measures.effective_side));
  const alike = new Set(shown.map(({ resolution }) => resolution.join())).size === 1;
  return alike ? shown.sort((one, other) => one.measures.effective_side - other.measures.effective_side) : [];
}

function finding() {
  const sorted = bySide();
  if (sorted.length < 2) return "";
  const said = ({ label, measures }) =>
    `${label}: ${fixed(measures.effective_side, 0)} px, ${percent(measures.linear_50, 1)} of the area`;
  const [height, width] = sorted[0].resolution;
  return `On inputs of ${height}x${width} pixels, half of the influence lies in the widest square for `
    + `${said(sorted.at(-1))}; in the narrowest for ${said(sorted[0])}.`;
}

function buildSummary() {
  show("summary", "Table");
  byId("finding").textContent = finding();
  listNotes("erf-notes", data.erf_notes);
  const measure = (name, title, more = {}) => ({
    title, value: (erf) => erf.measures[name], text: (erf) => percent(erf.measures[name]), ...more,
  });
  const any = (name) => data.erfs.some(({ measures }) => known(measures[name]));
  const area = ({ theoretical: reach }) => (reach ? (reach[1] - reach[0]) * (reach[3] - reach[2]) : null);
  const columns = [
    { title: "Model", value: (erf) => erf.label },
    { title: "Weights", value: (erf) => erf.weights, word: true },
    { title: "Input, px", value: (erf) => erf.resolution[0] * erf.resolution[1], text: (erf) => `${erf.resolution[0]}x${erf.resolution[1]}` },
    { title: "Images", value: (erf) => erf.images },
    measure("effective_side", "Side, px", {
      text: ({ measures }) => `${fixed(measures.effective_side, 0)}${range(measures.effective_side_low, measures.effective_side_high, 0)}`,
    }),
    ...[20, 30, 50, 99].map((share) => measure(`linear_${share}`, `r at ${share}\u00a0%`)),
    { title: "Theoretical reach", value: area, text: (erf) => erf.theoretical_size },
    measure("legacy_50", "r at 50\u00a0%, as published (log)"),
    measure("legacy_99", "r at 99\u00a0%, as published (log)"),
    ...(any("paper_99") ? [measure("paper_99", "r at 99\u00a0%, the paper's value")] : []),
    ...(any("top1") ? [measure("top1", "Classified right", { text: (erf) => percent(erf.measures.top1, 0) })] : []),
  ];
  byId("summary-table").append(table(columns, [...data.erfs, ...data.published], "Effective receptive fields", true));
}

function buildAudit() {
  show("audit", "Protocols");
  const [{ protocols, rows, tau, notes }] = data.audit;
  const side = (name, index) => ({
    title: name,
    value: ({ sides }) => (sides[index] ? sides[index].effective_side : null),
    text: ({ sides }) => (sides[index]
      ? `${fixed(sides[index].effective_side, 0)}${range(sides[index].effective_side_low, sides[index].effective_side_high, 0)}`
      : NONE),
  });
  byId("audit-table").append(table(
    [{ title: "Model", value: ({ label }) => label }, ...protocols.map(side)], rows, "Sides by protocol", true));
  byId("audit-tau").append(table(
    [{ title: "Protocol", value: ({ name }) => name },
      ...protocols.map((name, index) => ({ title: name, text: ({ values }) => fixed(values[index], 2) }))],
    tau.map((values, index) => ({ name: protocols[index], values })), "Kendall's tau between protocols", false));
  listNotes("audit-notes", notes);
}

async function copy(command, code) {
  try {
    await navigator.clipboard.writeText(command);
    return "Copied";
  } catch { // not allowed here, as in a page inside another
    getSelection().selectAllChildren(code);
    return document.execCommand("copy") ? "Copied" : "Selected: copy it with Ctrl+C";
  }
}

function buildProvenance() {
  show("provenance", "Provenance");
  const entry = (title, lines, command) => {
    const details = node("details", {}, node("summary", {}, title),
      node("dl", {}, ...lines.flatMap(([term, value]) => [node("dt", {}, term), node("dd", {}, value)])));
    if (!command) {
      details.append(node("p", { class: "hint" }, "No single command makes this again: it came with the "
        + "package, was put together from parts, was made in Python, or is a map of others."));
      return details;
    }
    const code = node("code", {}, command);
    const button = node("button", { type: "button", "aria-label": `Copy the command of ${title}` }, "Copy command");
    const done = node("span", { role: "status" });
    button.addEventListener("click", async () => { done.textContent = ` ${await copy(command, code)}`; });
    details.append(node("pre", {}, code), button, done);
    return details;
  };
  byId("provenance-list").append(
    ...data.erfs.map(({ label, provenance, command }) => entry(`ERF: ${label}`, provenance, command)),
    ...data.makers.map(({ label, cues, provenance, command }) => entry(`${worded("Shape bias", cues)}: ${label}`, provenance, command)),
    ...data.single_cue.map(({ label, stimuli, provenance, command }) => entry(`${stimuli}: ${label}`, provenance, command)),
    ...data.layers.flatMap(({ networks }) => networks)
      .map(({ label, provenance, command }) => entry(`Layers: ${label}`, provenance, command)),
    ...data.reliances.flatMap(({ networks }) => networks)
      .map(({ label, provenance, command }) => entry(`Reliance: ${label}`, provenance, command)));
}

// --- The page ---------------------------------------------------------------------------------

byId("version").textContent = data.version;
document.querySelectorAll("[data-for]").forEach((part) => {
  part.hidden = !data[part.dataset.for].length;
});
const failed = [...data.failures];
// What cannot be drawn stands alone, as what could not be read does.
const attempt = (build) => {
  try {
    build();
  } catch (error) {
    failed.push(`A section of this page cannot be drawn: ${error.message}`);
  }
};
if (data.erfs.length) {
  attempt(buildSummary);
  if (data.audit.length) attempt(buildAudit);
  attempt(buildMaps);
  if (data.erfs.length > 1) attempt(buildPair);
  if (data.erfs.some(({ held }) => held)) attempt(buildProfiles);
}
if (data.checks.length) attempt(buildChecks);
if (data.dead.length) attempt(buildDead);
if (data.growth.length) attempt(buildGrowth);
if (data.makers.length) attempt(buildShapeBias);
if (data.single_cue.length) attempt(buildSingleCue);
if (data.layers.length) attempt(buildLayers);
if (data.reliances.length) attempt(buildReliance);
if (data.scatter.length) attempt(buildScatter);
attempt(buildProvenance);
if (failed.length) {
  show("failures", "Not shown");
  listNotes("failed", failed);
}
