// What is left when all sections are drawn.

byId("version").textContent = data.version;
document.querySelectorAll("[data-for]").forEach((part) => { part.hidden = byId(part.dataset.for).hidden; });
if (failed.length) {
  show("failures", "Not shown");
  listNotes("failed", failed);
}
