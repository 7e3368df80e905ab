"use strict";
(function () {
  const byId = (id) => document.getElementById(id);
  const json = (id) => JSON.parse(byId(id).textContent);
  const root = document.documentElement;

  // Colours. Figures come with the colours of the light theme; each is replaced by the value of its CSS variable.
  const palette = json("palette");
  const variable = new Map(Object.entries(palette).map(([name, colour]) => [colour, "--" + name]));
  const isText = new Set(["text", "ticktext", "customdata", "hovertemplate", "labels", "ids", "parents"]);
  const narrow = () => window.innerWidth < 640;

  function dark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }

  function coloured(value, style) {
    if (typeof value === "string") return variable.has(value) ? style.getPropertyValue(variable.get(value)).trim() : value;
    if (Array.isArray(value)) return value.map((v) => coloured(v, style));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, isText.has(k) && !isObject(v) ? v : coloured(v, style)]));
  }

  function isObject(value) { return value !== null && typeof value === "object" && !Array.isArray(value); }

  // Figures.
  const plots = [...document.querySelectorAll(".plot")].map((box) => ({
    box, figure: json(box.dataset.figure + "-data"), choice: 0, drawn: false,
  }));

  function draw(plot) {
    const style = getComputedStyle(root);
    const choice = plot.figure.choices[plot.choice];
    const traces = plot.figure.data.map((trace, i) => {
      const change = choice && choice.changes[i];
      const shown = change ? { ...trace, ...change, marker: { ...trace.marker, ...change.marker } } : trace;
      // A phone has no room for names beside the numbers: the trace says what to write there.
      return narrow() && shown.meta && shown.meta.narrow ? { ...shown, ...shown.meta.narrow } : shown;
    });
    const layout = coloured(plot.figure.layout, style);
    if (narrow()) compact(layout);
    const config = {
      responsive: true, displaylogo: false, scrollZoom: false,
      displayModeBar: plot.figure.pan && !narrow(),
      modeBarButtons: [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
      showSendToCloud: false, plotlyServerURL: "", // by default a button sends the data of the figure to its maker
    };
    if (!plot.figure.pan) layout.dragmode = false;
    plot.drawn = true;
    return Plotly.react(plot.box, coloured(traces, style), layout, config);
  }

  function compact(layout) {
    const m = layout.margin || (layout.margin = {});
    m.l = Math.min(m.l === undefined ? 40 : m.l, 40);
    m.r = 8;
    layout.legend = { ...(layout.legend || {}), orientation: "h", x: 0, xanchor: "left", yref: "container", y: 0, yanchor: "bottom" };
  }

  function drawAll() {
    const waiting = plots.filter((p) => p.drawn);
    waiting.forEach((p) => draw(p));
  }

  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const plot = plots.find((p) => p.box === entry.target);
      if (entry.isIntersecting && !plot.drawn) { near.unobserve(plot.box); draw(plot); }
    }
  }, { rootMargin: "1200px" });
  plots.forEach((p) => near.observe(p.box));
  window.addEventListener("beforeprint", () => plots.forEach((p) => draw(p)));

  document.querySelectorAll("select[data-figure]").forEach((select) => {
    select.addEventListener("change", () => {
      const plot = plots.find((p) => p.box.dataset.figure === select.dataset.figure);
      plot.choice = Number(select.value);
      byId(select.dataset.figure + "-note").textContent = plot.figure.choices[plot.choice].note;
      draw(plot);
    });
  });

  // Theme: the choice is stored for the next visit, if the browser lets a local file store anything.
  const kept = { get() { try { return localStorage.getItem("grip-theme"); } catch { return null; } }, set(v) { try { localStorage.setItem("grip-theme", v); } catch { /* not kept */ } } };
  if (kept.get() === "dark" || kept.get() === "light") root.dataset.theme = kept.get();
  const button = byId("theme");
  function label() { button.textContent = dark() ? "Light theme" : "Dark theme"; }
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; kept.set(root.dataset.theme); label(); drawAll(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { label(); drawAll(); });
  label();
  let wasNarrow = narrow();
  window.addEventListener("resize", () => { if (narrow() !== wasNarrow) { wasNarrow = narrow(); drawAll(); } });

  // Tables sorted by a button in each heading.
  function sortable(table) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const numbers = head.dataset.numbers !== undefined;
      const before = head.getAttribute("aria-sort");
      const down = before ? before === "ascending" : numbers;
      const key = (row) => row.cells[column].dataset.v;
      const order = (a, b) => {
        if (key(a) === "" || key(b) === "") return (key(a) === "") - (key(b) === "");
        const by = numbers ? Number(key(a)) - Number(key(b)) : key(a).localeCompare(key(b));
        return down ? -by : by;
      };
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
      heads.forEach((h) => h.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
    }));
  }
  document.querySelectorAll("table.sortable").forEach(sortable);

  // Cluster cards.
  const cards = byId("cards");
  if (cards) {
    const all = [...cards.children];
    const order = byId("cards-order");
    const more = byId("cards-all");
    const first = 9;
    const show = () => {
      const up = order.getAttribute("aria-pressed") === "true";
      order.textContent = up ? "Smallest first" : "Largest first";
      const name = byId("cards-sort").value.replace(/_([a-z])/g, (_, c) => c.toUpperCase());
      const key = (card) => (card.dataset[name] === "" ? NaN : Number(card.dataset[name]));
      const by = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);
        return up ? x - y : y - x;
      };
      cards.append(...all.sort(by));
      const words = byId("cards-find").value.trim().toLowerCase();
      // A number means that cluster; words are searched in names, descriptions, languages and file names.
      const matches = /^\d+$/.test(words)
        ? (card) => card.dataset.clusterId === words
        : (card) => card.dataset.find.toLowerCase().includes(words);
      const found = all.filter((card) => words === "" || matches(card));
      const shown = more.dataset.all ? found : found.slice(0, first);
      all.forEach((card) => { card.hidden = !shown.includes(card); });
      more.hidden = shown.length === found.length;
      more.textContent = "Show all " + found.length + " clusters";
      byId("cards-count").textContent = shown.length + " of " + all.length + " clusters shown";
    };
    order.addEventListener("click", () => {
      order.setAttribute("aria-pressed", String(order.getAttribute("aria-pressed") !== "true"));
      show();
    });
    more.addEventListener("click", () => { more.dataset.all = "yes"; show(); });
    byId("cards-sort").addEventListener("change", show);
    byId("cards-find").addEventListener("input", show);
    show();
  }

  // Comparison of two runs. Texts of documents go in as text nodes, never as markup.
  const out = byId("compare");
  if (out) {
    const data = json("compare-data");
    const number = (n) => Number(n).toLocaleString("en-US");
    const node = (tag, text, name) => {
      const made = document.createElement(tag);
      if (text !== undefined) made.textContent = text;
      if (name) made.className = name;
      return made;
    };
    const box = (caption, heads, rows) => {
      const scroll = node("div", undefined, "scroll");
      scroll.tabIndex = 0;
      scroll.setAttribute("role", "region");
      scroll.setAttribute("aria-label", caption);
      const table = node("table");
      table.append(node("caption", caption));
      const tr = table.createTHead().insertRow();
      heads.forEach(([text, numeric]) => {
        const th = node("th", text, numeric ? "n plain" : "plain");
        th.scope = "col";
        tr.append(th);
      });
      const body = table.createTBody();
      rows.forEach((row) => {
        const line = body.insertRow();
        row.forEach((value, i) => line.append(node("td", value, heads[i][1] ? "n" : "")));
      });
      scroll.append(table);
      return scroll;
    };
    const documents = (title, part) => {
      const column = node("div");
      column.append(node("h3", title + ": " + number(part.documents) + " documents, " + number(part.tokens) + " tokens"));
      part.examples.forEach((e) => {
        const doc = node("div", undefined, "doc");
        doc.append(node("code", e.source, "source"), node("span", " " + number(e.n_tokens) + " tokens", "note"), node("pre", e.head));
        column.append(doc);
      });
      return column;
    };
    const percent = (x) => (100 * x).toFixed(2) + "%";
    const signed = (n) => (n > 0 ? "+" : n < 0 ? "−" : "") + number(Math.abs(n));
    const show = () => {
      const [left, right] = [byId("compare-left").value, byId("compare-right").value];
      out.replaceChildren();
      if (left === right) { out.append(node("p", "Choose two different runs.", "missing")); return; }
      let pair = data.pairs.find((p) => p.left === left && p.right === right);
      if (!pair) {
        const p = data.pairs.find((q) => q.left === right && q.right === left);
        const turn = (r) => ({ ...r, first: r.second, second: r.first, change: -r.change, share_first: r.share_second, share_second: r.share_first });
        pair = {
          both: p.both, in: p.out, out: p.in, budgets: p.budgets && p.budgets.map(turn),
          settings: p.settings.map((s) => ({ ...s, left: s.right, right: s.left })),
        };
      }
      const value = (v) => ["used", "not used"].includes(v) ? v : JSON.stringify(v); // of a group of settings
      const total = pair.both.documents + pair.out.documents;
      out.append(node("p", number(pair.both.documents) + " documents are in both" +
        (total ? ", " + (100 * pair.both.documents / total).toFixed(1) + "% of the first" : "") + "; " +
        number(pair.in.documents) + " came in and " + number(pair.out.documents) + " went out."));
      out.append(pair.settings.length
        ? box("Settings that differ", [["Setting"], ["Symbol"], ["From"], ["To"]],
          pair.settings.map((s) => [s.name, s.symbol, value(s.left), value(s.right)]))
        : node("p", "No setting differs: the corpus, a model or the code changed."));
      if (pair.budgets === null) out.append(node("p", "The clusters differ, so budgets cannot be compared cluster by cluster.", "missing"));
      else if (!pair.budgets.length) out.append(node("p", "The budget is the same in every cluster."));
      else out.append(box("Budget by cluster, largest change of share first", [["Cluster"], ["From", 1], ["To", 1], ["Change", 1], ["Share from", 1], ["Share to", 1]],
        pair.budgets.map((r) => [r.label, number(r.first), number(r.second), signed(r.change), percent(r.share_first), percent(r.share_second)])));
      const columns = node("div", undefined, "columns");
      columns.append(documents("In", pair.in), documents("Out", pair.out));
      out.append(columns);
    };
    byId("compare-left").addEventListener("change", show);
    byId("compare-right").addEventListener("change", show);
    show();
  }

  // Which section is being read.
  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  const reading = new IntersectionObserver((entries) => {
    entries.filter((e) => e.isIntersecting).forEach((e) => {
      links.forEach((a) => a.removeAttribute("aria-current"));
      const link = links.get(e.target.id);
      if (link) {
        link.setAttribute("aria-current", "true");
        const bar = link.closest("ul"); // keep the current link in view if the bar is wider than the screen
        const place = link.offsetLeft - bar.offsetLeft;
        if (place < bar.scrollLeft || place + link.offsetWidth > bar.scrollLeft + bar.clientWidth) bar.scrollLeft = place - 24;
      }
    });
  }, { rootMargin: "-20% 0px -75% 0px" });
  document.querySelectorAll("main section").forEach((s) => reading.observe(s));
})();
