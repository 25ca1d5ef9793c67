// Sections about two cues, one for each pair.

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

const biasLine = (maker) => `${maker.cues ? maker.cues[0] : "shape"} bias ${estimate(maker, "shape_bias")}`;
