// The gallery: pages of samples, filters, the enlarged image, and the details of a sub-caption. Texts are copied as text
// or as existing nodes. HTML is parsed only if recaption rendered it: the pages in <noscript> elements, and those of the
// server of `recaption inspect --open`. The script sends requests to no other server.
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
  const grid = one("grid");
  const PAGE = 24; // samples
  const NAMES = ["q", "generation", "model", "status", "flag", "weight", "tag"];
  const fold = (text) => text.normalize("NFKC").toLowerCase().replace(/\s+/g, " ").trim();
  const articles = (html) =>
    Array.from(new DOMParser().parseFromString(html, "text/html").querySelectorAll(".sample"), (node) => document.adoptNode(node));

  // The samples of a report. `find` returns how many match, what to print, and `page`, which returns the nodes of a page.
  const local = () => {
    let index = null;
    const blocks = [Array.from(grid.children)];
    const total = Number(grid.dataset.count);
    const whole = new Promise((done) => document.addEventListener("DOMContentLoaded", done)); // what follows the script
    const read = () => {
      index = JSON.parse(one("index").dataset.samples);
      for (const sample of index) {
        sample.head = fold(sample.head);
        sample.captions = sample.captions.map(([generation, model, text]) => ({ generation, model, text: fold(text) }));
      }
    };
    const matches = (sample, { q, generation, model, status, flag, weight, tag }) => {
      const captions = sample.captions.filter(
        (caption) => (!generation || caption.generation === generation) && (!model || caption.model === model),
      );
      return (
        ((!generation && !model) || captions.length > 0) &&
        (!status || sample.status === status) &&
        (!flag || sample.flags.includes(flag)) &&
        (!weight || sample.weights.includes(weight)) &&
        (!tag || sample.tags.includes(tag)) &&
        (!q || sample.head.includes(q) || captions.some((caption) => caption.text.includes(q)))
      );
    };
    const nodes = async (numbers) => {
      if (numbers.some((n) => n >= PAGE)) await whole;
      const unread = document.querySelectorAll("noscript.block");
      return numbers.map((n) => {
        const block = Math.floor(n / PAGE);
        blocks[block] = blocks[block] || articles(unread[block - 1].textContent);
        return blocks[block][n % PAGE];
      });
    };
    return {
      find: async (wanted) => {
        const all = Object.values(wanted).every((text) => !text);
        if (!all) await whole;
        if (!all && !index) read();
        const query = { ...wanted, q: fold(wanted.q) };
        const found = Array.from({ length: total }, (_, n) => n).filter((n) => all || matches(index[n], query));
        const page = (number) => nodes(found.slice(number * PAGE, (number + 1) * PAGE));
        return { count: found.length, words: `${found.length} of ${total}`, page };
      },
    };
  };

  // The same of a server, which searches the whole build.
  const served = () => {
    const ask = async (path, parameters) => {
      const reply = await fetch(`${path}?${parameters}`).catch(() => {
        throw new Error("The server does not answer. Run recaption inspect OUT --open again, and use its new URL.");
      });
      const answer = await reply.json();
      if (!reply.ok) throw new Error(answer.error);
      return answer;
    };
    const find = async (path, parameters) => {
      const answer = await ask(path, parameters);
      if (answer.html === undefined) return { rows: answer };
      const [count, images] = [answer.count, answer.images].map((number) => number.toLocaleString("en"));
      const page = async (number) =>
        articles(number ? (await ask(path, `${parameters}&page=${number}`)).html : answer.html);
      return { count: answer.count, words: `${answer.more ? "first " : ""}${count} of ${images}`, page };
    };
    return {
      find: (wanted) => find("samples", new URLSearchParams(Object.entries(wanted).filter(([, text]) => text))),
      run: (statement) => find("sql", new URLSearchParams({ sql: statement })),
    };
  };

  // An image that the server cannot read.
  addEventListener(
    "error",
    (event) => {
      if (!event.target.matches || !event.target.matches(".thumbnail img, .frame img")) return;
      const missing = document.createElement("p");
      missing.className = "no-thumbnail";
      missing.textContent = "no image";
      event.target.replaceWith(missing);
    },
    true,
  );

  const store = "served" in grid.dataset ? served() : local();
  let found = { count: Number(grid.dataset.count || 0) }; // the latest result
  let [at, turn] = [0, 0]; // the page that is shown, the latest request
  const value = (id) => (one(id) ? one(id).value : "");
  const cards = () => Array.from(grid.children);

  const problem = (error) => {
    one("problem").textContent = error ? error.message : "";
    one("problem").hidden = !error;
  };
  const prepare = (card) => {
    const [generation, model] = [value("generation"), value("model")];
    for (const caption of card.querySelectorAll(".caption")) {
      const { dataset } = caption;
      caption.hidden = !((!generation || dataset.generation === generation) && (!model || dataset.model === model));
    }
    const button = card.querySelector(".thumbnail");
    button.setAttribute("role", "button");
    button.setAttribute("aria-haspopup", "dialog");
    button.setAttribute("aria-label", `Enlarge ${card.dataset.key}`);
    button.tabIndex = 0;
  };
  const show = async (number, result = found) => {
    const mine = ++turn;
    const nodes = await result.page(number);
    if (mine !== turn) return;
    [found, at] = [result, number];
    nodes.forEach(prepare);
    if (nodes.length !== grid.children.length || nodes.some((node, n) => node !== grid.children[n])) {
      grid.replaceChildren(...nodes);
    }
    const pages = Math.ceil(found.count / PAGE);
    one("count").textContent = found.words;
    one("nothing").hidden = grid.children.length > 0;
    one("pager").hidden = pages < 2;
    one("page").textContent = `Page ${at + 1} of ${pages.toLocaleString("en")}`;
    for (const button of one("pager").querySelectorAll("button")) {
      const page = at + Number(button.dataset.step);
      button.disabled = page < 0 || page >= pages;
    }
  };
  let last = Promise.resolve(), pending = 0;
  const refresh = async (search) => {
    const mine = ++turn;
    pending++;
    root.classList.add("busy");
    try {
      await last.catch(() => {}); // the server runs one statement at a time
      if (mine !== turn) return;
      last = search();
      const result = await last;
      if (mine !== turn) return;
      problem(null);
      if (one("rows")) rows(result.rows);
      if (!result.rows) await show(0, result);
    } catch (error) {
      if (mine === turn) problem(error);
    } finally {
      if (!--pending) root.classList.remove("busy");
    }
  };
  const apply = () => refresh(() => store.find(Object.fromEntries(NAMES.map((name) => [name, value(name)]))));

  let waiting = 0;
  filters.addEventListener("input", (event) => {
    clearTimeout(waiting);
    if (store.run && event.target.matches("input")) waiting = setTimeout(apply, 250);
    else apply();
  });
  filters.addEventListener("submit", (event) => {
    event.preventDefault();
    apply();
  });
  filters.addEventListener("reset", () => setTimeout(apply));
  one("again").addEventListener("click", () => {
    filters.reset();
    one("q").focus();
  });
  one("pager").addEventListener("click", async (event) => {
    if (!event.target.dataset.step || pending) return; // a filter that waits for the document decides the page
    await show(at + Number(event.target.dataset.step)).catch(problem);
    one("gallery").scrollIntoView();
  });
  cards().forEach(prepare); // they are used before the document is complete
  apply(); // a reload may have kept the filters
  const linked = one(location.hash.slice(1));
  if (linked) linked.scrollIntoView(); // browsers do so at the end of the document

  // A statement's result without keys, as a table.
  const rows = (answer) => {
    const place = one("rows");
    place.hidden = !answer;
    place.replaceChildren();
    if (!answer) return;
    const table = document.createElement("table");
    const row = (values, name) => {
      const line = document.createElement("tr");
      for (const text of values) {
        const cell = document.createElement(name);
        cell.textContent = text;
        line.append(cell);
      }
      return line;
    };
    table.createCaption().textContent = `${answer.more ? "First " : ""}${answer.rows.length} row${answer.rows.length === 1 ? "" : "s"}`;
    table.createTHead().append(row(answer.columns, "th"));
    table.createTBody().append(...answer.rows.map((values) => row(values, "td")));
    place.append(table);
  };
  if (store.run) {
    one("sql").addEventListener("submit", (event) => {
      event.preventDefault();
      refresh(() => store.run(value("statement")));
    });
    one("statement").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) one("sql").requestSubmit();
    });
  }

  // The enlarged image with its captions beside it. The arrow keys go to the next image, also of the next page.
  const viewer = one("viewer");
  let current = null; // the card
  const enlarge = (card) => {
    current = card;
    const copy = (selector) => {
      const node = card.querySelector(selector).cloneNode(true);
      for (const named of node.querySelectorAll("[id]")) named.removeAttribute("id");
      return Array.from(node.childNodes);
    };
    const picture = document.createElement("div");
    picture.className = "frame";
    picture.append(...copy(".thumbnail"));
    const image = picture.querySelector("img");
    if (image && image.dataset.large) image.src = image.dataset.large;
    if (image) image.loading = "eager";
    one("picture").replaceChildren(picture);
    one("words").replaceChildren(...copy(".texts"));
    one("words").scrollTop = 0;
    one("viewer-title").textContent = `Image ${at * PAGE + cards().indexOf(card) + 1} of ${found.count.toLocaleString("en")}`;
    for (const caption of one("words").querySelectorAll(".caption")) {
      caption.querySelectorAll(".sub").forEach((sub, n) => {
        sub.setAttribute("role", "button");
        sub.setAttribute("aria-haspopup", "dialog");
        sub.tabIndex = n === 0 ? 0 : -1;
      });
    }
    if (!viewer.open) {
      viewer.showModal();
      one("words").focus();
    }
  };
  const step = async (by) => {
    const next = cards().indexOf(current) + by;
    if (cards()[next]) return enlarge(cards()[next]);
    const page = at + by;
    if (pending || page < 0 || page * PAGE >= found.count) return;
    await show(page);
    if (!viewer.open) return; // it was closed while the page was read
    enlarge(by > 0 ? cards()[0] : cards().at(-1));
  };
  grid.addEventListener("click", (event) => {
    const card = event.target.closest(".sample");
    if (card && !event.target.closest("a") && getSelection().isCollapsed) enlarge(card);
  });
  grid.addEventListener("keydown", (event) => {
    const button = event.target.closest(".thumbnail[role=button]");
    if (!button || event.ctrlKey || event.metaKey || event.altKey) return;
    const card = button.closest(".sample");
    const to = { ArrowRight: card.nextElementSibling, ArrowLeft: card.previousElementSibling }[event.key];
    if (event.key === "Enter" || event.key === " ") enlarge(card);
    else if (to) to.querySelector(".thumbnail").focus();
    else return;
    event.preventDefault();
  });
  const failed = (error) => {
    viewer.close(); // the message is behind it
    problem(error);
  };
  viewer.addEventListener("click", (event) => {
    if (event.target === viewer || event.target.id === "leave") viewer.close();
    else if (event.target.dataset.step) step(Number(event.target.dataset.step)).catch(failed);
  });
  viewer.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.target.closest(".scroll")) return;
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    step(by).catch(failed);
  });
  viewer.addEventListener("close", () => current.querySelector(".thumbnail").focus());

  // A sub-caption, an object and a box light up together.
  const light = (target) => {
    for (const node of viewer.querySelectorAll(".lit")) node.classList.remove("lit");
    const near = target && target.closest(".sub, .tag-text, .chip, .boxes rect, .subs tbody tr, .caption[data-region]");
    if (!near) return;
    const lit = new Set([near]);
    const things = new Set();
    const caption = near.closest(".caption");
    const within = target.closest("[data-thing]");
    const subs = (number) => caption.querySelectorAll(`.sub[data-n="${number}"]`);
    if (within) things.add(within.dataset.thing);
    else if (near.matches(".sub")) for (const sub of subs(near.dataset.n)) lit.add(sub);
    else if (near.matches("tr")) for (const sub of subs(near.cells[0].textContent)) lit.add(sub);
    if (!within) for (const sub of lit) for (const tag of sub.querySelectorAll("[data-thing]")) things.add(tag.dataset.thing);
    const { region } = near.dataset;
    // Of several boxes with the same object, those that were located for this sub-caption.
    const from = near.matches("rect") ? null : target.closest(".sub") || [...lit].find((node) => node.matches(".sub"));
    const boxes = [...viewer.querySelectorAll(".boxes rect")];
    const own = near.matches("rect") ? [near] : boxes.filter((box) => from && box.dataset.sub === from.dataset.sub);
    for (const node of viewer.querySelectorAll("[data-thing], .caption[data-region]")) {
      if ((node.dataset.thing && things.has(node.dataset.thing)) || (region && node.dataset.region === region)) {
        if (!own.length || !boxes.includes(node) || own.includes(node)) lit.add(node);
      }
    }
    for (const node of lit) {
      node.classList.add("lit");
      const sub = node.matches(".tag") && node.closest(".sub");
      if (within && sub) sub.classList.add("lit");
    }
  };
  viewer.addEventListener("pointerover", (event) => light(event.target));
  viewer.addEventListener("pointerleave", () => light(null));
  viewer.addEventListener("focusin", (event) => light(event.target));

  // Sub-captions: one tab stop per caption, arrow keys within it.
  const about = one("about");
  const move = (sub, by) => {
    const subs = Array.from(sub.closest(".text").querySelectorAll(".sub"));
    const next = subs[subs.indexOf(sub) + by];
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
    one("about-title").textContent = `Sub-caption ${n} of ${generation}, ${current.dataset.key}`;
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
  one("words").addEventListener("click", (event) => {
    const sub = event.target.closest(".sub[role=button]");
    if (sub && getSelection().isCollapsed) open(sub);
  });
  one("words").addEventListener("keydown", (event) => {
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
    const open = about.open || viewer.open;
    if (event.key === "/" && !typing && !open && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      one("q").focus();
    }
  });
})();
