// Filters the gallery and shows the details of a sub-caption. All data are in the page: texts are copied as text or as
// existing nodes, never as HTML, and no request is sent.
"use strict";
(() => {
  const one = (id) => document.getElementById(id);
  const root = document.documentElement;

  const theme = one("theme");
  const themes = ["system", "light", "dark"];
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const next = themes[(themes.indexOf(root.dataset.theme || "system") + 1) % themes.length];
    if (next === "system") delete root.dataset.theme;
    else root.dataset.theme = next;
    theme.querySelector("span").textContent = next;
  });

  const filters = one("filters");
  if (!filters) return;
  filters.hidden = false;
  const fold = (text) => text.normalize("NFKC").toLowerCase().replace(/\s+/g, " ").trim();
  const captionText = (caption) =>
    Array.from(caption.querySelectorAll(".sub, .between"), (piece) => piece.textContent).join("");
  const samples = Array.from(document.querySelectorAll(".sample"), (node) => ({
    node,
    status: node.dataset.status,
    flags: node.dataset.flags.split(" "),
    tags: JSON.parse(node.dataset.tags),
    head: fold([node.dataset.key, ...Array.from(node.querySelectorAll(".where, .lost"), (p) => p.textContent)].join(" ")),
    captions: Array.from(node.querySelectorAll(".caption"), (caption) => ({
      node: caption,
      generation: caption.dataset.generation,
      text: fold(captionText(caption)),
    })),
  }));
  for (const sample of samples) sample.head += " " + fold(sample.tags.join(" "));

  const value = (id) => (one(id) ? one(id).value : "");
  const apply = () => {
    const words = fold(value("q"));
    const [generation, status, flag, tag] = ["generation", "status", "flag", "tag"].map(value);
    let shown = 0;
    for (const sample of samples) {
      const captions = sample.captions.filter((caption) => !generation || caption.generation === generation);
      for (const caption of sample.captions) caption.node.hidden = !captions.includes(caption);
      const found =
        (!generation || captions.length > 0) &&
        (!status || sample.status === status) &&
        (!flag || sample.flags.includes(flag)) &&
        (!tag || sample.tags.includes(tag)) &&
        (!words || sample.head.includes(words) || captions.some((caption) => caption.text.includes(words)));
      sample.node.hidden = !found;
      shown += found ? 1 : 0;
    }
    one("count").textContent = `${shown} of ${samples.length}`;
    one("nothing").hidden = shown > 0;
  };
  filters.addEventListener("input", apply);
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("reset", () => setTimeout(apply));
  one("again").addEventListener("click", () => {
    filters.reset();
    one("q").focus();
  });
  apply(); // a reload may have kept the filters

  // Sub-captions: one tab stop per caption, arrow keys within it.
  const about = one("about");
  for (const sample of samples) {
    for (const caption of sample.captions) {
      const subs = Array.from(caption.node.querySelectorAll(".sub"));
      subs.forEach((sub, n) => {
        sub.setAttribute("role", "button");
        sub.setAttribute("aria-haspopup", "dialog");
        sub.tabIndex = n === 0 ? 0 : -1;
      });
    }
  }
  const move = (sub, step) => {
    const subs = Array.from(sub.closest(".text").querySelectorAll(".sub"));
    const next = subs[subs.indexOf(sub) + step];
    if (!next) return;
    sub.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  };
  const section = (title, node) => {
    const head = document.createElement("h3");
    head.textContent = title;
    one("about-body").append(head, node);
  };
  const open = (sub) => {
    const caption = sub.closest(".caption");
    const { n } = sub.dataset;
    const { generation } = caption.dataset;
    one("about-title").textContent = `Sub-caption ${n} of ${generation}, ${caption.closest(".sample").dataset.key}`;
    one("about-text").textContent = Array.from(
      caption.querySelectorAll(`.sub[data-n="${n}"]`),
      (piece) => piece.textContent,
    ).join(" … ");
    one("about-body").replaceChildren();
    const table = caption.querySelector(".subs");
    const row = table.tBodies[0].rows[n - 1];
    const pairs = document.createElement("dl");
    pairs.className = "pairs";
    Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
      if (column === 0 || !row.cells[column].textContent.trim()) return;
      const pair = document.createElement("div");
      const name = document.createElement("dt");
      const details = document.createElement("dd");
      name.textContent = head.textContent;
      details.append(...Array.from(row.cells[column].cloneNode(true).childNodes));
      pair.append(name, details);
      pairs.append(pair);
    });
    one("about-body").append(pairs);
    section("Caption", caption.querySelector("[data-provenance]").cloneNode(true));
    const card = Array.from(document.querySelectorAll("#origin .card")).find((one) => one.dataset.generation === generation);
    if (card) section("Model, prompt and sampling", card.querySelector("[data-provenance]").cloneNode(true));
    about.returnTo = sub;
    about.showModal();
    one("close").focus();
  };
  one("gallery").addEventListener("click", (event) => {
    const sub = event.target.closest(".sub[role=button]");
    if (sub && getSelection().isCollapsed) open(sub);
  });
  one("gallery").addEventListener("keydown", (event) => {
    const sub = event.target.closest(".sub[role=button]");
    if (!sub || event.ctrlKey || event.metaKey || event.altKey) return;
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    if (event.key === "Enter" || event.key === " ") open(sub);
    else if (event.key in steps) move(sub, steps[event.key]);
    else return;
    event.preventDefault();
  });
  one("close").addEventListener("click", () => about.close());
  about.addEventListener("click", (event) => event.target === about && about.close());
  about.addEventListener("close", () => about.returnTo && about.returnTo.focus());

  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
    if (event.key === "/" && !typing && !about.open && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      one("q").focus();
    }
  });
})();
