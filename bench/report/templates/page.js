"use strict";
// The page is whole without this. It adds the sorting of tables, the choice of contenders and of rows, and opens what
// is folded where the page is printed.
(() => {
  const FACTORS = {
    ns: 1, "µs": 1e3, ms: 1e6, s: 1e9, B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, k: 1e3, M: 1e6, "%": 1,
  };
  const FIGURE = /^[≥≤]?\s*(-?[\d,]+(?:\.\d+)?)\s*(ns|µs|ms|s|B|KiB|MiB|GiB|k|M|%)?(?![\w.])/;
  const NEXT = { none: "ascending", ascending: "descending", descending: "none" };

  const make = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  // Cells are made for people: "3.86 ms", "≤ 0.76 (0.74-0.78)", "259k", "-".
  const figureOf = (text) => {
    const found = FIGURE.exec(text);
    return found ? Number(found[1].replaceAll(",", "")) * (FACTORS[found[2]] ?? 1) : NaN;
  };

  const isEmpty = (text) => text === "" || text === "-";

  // What is empty stands last in either direction.
  const ordered = (rows, place, direction, isNumeric) => {
    const sign = direction === "ascending" ? 1 : -1;
    const text = (row) => row.cells[place].textContent.trim();
    const compare = (one, other) => {
      const [a, b] = [text(one), text(other)];
      if (isEmpty(a) || isEmpty(b)) return isEmpty(a) - isEmpty(b);
      return sign * (isNumeric ? figureOf(a) - figureOf(b) : a.localeCompare(b, "en", { numeric: true }));
    };
    return direction === "none" ? rows : [...rows].sort(compare);
  };

  const makeSortable = (table) => {
    const bodies = [...table.tBodies].map((body) => ({
      body,
      rows: [...body.rows].filter((row) => !row.classList.contains("load")),
    }));
    if (bodies.every(({ rows }) => rows.length < 2)) return;
    const headers = [...table.tHead.rows[0].cells];
    let next = 0;
    for (const header of headers) {
      const place = next;
      next += header.colSpan;
      if (header.textContent.trim() === "" || header.textContent === "marks") continue;
      const texts = bodies.flatMap(({ rows }) => rows.map((row) => row.cells[place].textContent.trim()));
      const isNumeric = texts.every((text) => isEmpty(text) || !Number.isNaN(figureOf(text)));
      const button = make("button", { type: "button" }, ...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => {
        const direction = NEXT[header.getAttribute("aria-sort") ?? "none"];
        for (const other of headers) other.removeAttribute("aria-sort");
        if (direction !== "none") header.setAttribute("aria-sort", direction);
        for (const { body, rows } of bodies) body.append(...ordered(rows, place, direction, isNumeric));
      });
    }
  };

  const isChosen = (row, choice) => {
    if (choice === "fit") return !row.classList.contains("marked");
    const codes = row.dataset.marks.split(" ").filter(Boolean);
    if (choice === "unmarked") return codes.length === 0;
    return choice === "all" || codes.includes(choice.slice("mark ".length));
  };

  const marksMenu = (codes) => {
    const choices = [["all", "all"], ["fit", "those fit to be compared"], ["unmarked", "those without a mark"]];
    for (const code of codes) choices.push([`mark ${code}`, `those marked ${code}`]);
    return make("select", {}, ...choices.map(([value, text]) => make("option", { value }, text)));
  };

  // Contenders are hidden on the whole page: in tables, and in charts that have a line for each.
  const hidden = new Set();
  const shows = [];
  const showAll = () => {
    for (const show of shows) show();
  };

  const contenderBoxes = (swatches) => {
    const boxes = [...swatches].map(([name, swatch]) => {
      const box = make("input", { type: "checkbox", value: name });
      box.addEventListener("change", () => {
        if (box.checked) hidden.delete(name);
        else hidden.add(name);
        showAll();
      });
      shows.push(() => { box.checked = !hidden.has(name); });
      return make("label", {}, box, ...swatch, name);
    });
    return make("fieldset", {}, make("legend", {}, "contenders, on the whole page"), ...boxes);
  };

  const allButton = (also = () => {}) => {
    const button = make("button", { type: "button" }, "show all");
    button.addEventListener("click", () => {
      hidden.clear();
      also();
      showAll();
    });
    return button;
  };

  const makeLinesChoosable = (figure) => {
    const parts = [...figure.querySelectorAll("svg [data-contender]")];
    const names = [...new Set(parts.map((part) => part.dataset.contender))].sort();
    if (names.length < 2) return;
    shows.push(() => {
      for (const part of parts) part.classList.toggle("hidden", hidden.has(part.dataset.contender));
    });
    const panel = make("div", {}, contenderBoxes(names.map((name) => [name, []])), make("p", {}, allButton()));
    const controls = make("details", { className: "controls" }, make("summary", {}, "Choose lines"), panel);
    figure.querySelector("figcaption").before(controls);
  };

  const makeChoosable = (table) => {
    const rows = [...table.querySelectorAll("tr[data-contender]")];
    if (rows.length < 2) return;
    const first = new Map();
    for (const row of rows) {
      const name = row.dataset.contender;
      if (!first.has(name)) first.set(name, [row.querySelector(".swatch").cloneNode()]);
    }
    const codes = new Set(rows.flatMap((row) => row.dataset.marks.split(" ").filter(Boolean)));
    const menu = marksMenu(codes);
    const count = make("output", {});
    const show = () => {
      for (const row of rows) row.hidden = hidden.has(row.dataset.contender) || !isChosen(row, menu.value);
      for (const body of table.tBodies) {
        body.hidden = [...body.rows].every((row) => row.hidden || row.classList.contains("load"));
      }
      const left = rows.filter((row) => !row.hidden).length;
      count.textContent = `${left} of ${rows.length} rows`;
    };
    shows.push(show);
    menu.addEventListener("change", show);
    const all = allButton(() => { menu.value = "all"; });
    const marks = make("label", {}, "cells: ", menu);
    const panel = make("div", {}, contenderBoxes(first), make("p", {}, marks, all, count));
    const controls = make("details", { className: "controls" }, make("summary", {}, "Choose rows"), panel);
    table.parentElement.before(controls);
  };

  for (const table of document.querySelectorAll("main table")) makeSortable(table);
  for (const figure of document.querySelectorAll("figure")) makeLinesChoosable(figure);
  for (const table of document.querySelectorAll("table.figures")) makeChoosable(table);
  showAll();

  const opened = [];
  addEventListener("beforeprint", () => {
    opened.push(...document.querySelectorAll("details:not([open], .controls)"));
    for (const one of opened) one.open = true;
  });
  addEventListener("afterprint", () => {
    for (const one of opened.splice(0)) one.open = false;
  });
})();
