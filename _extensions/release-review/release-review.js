// Tables that sort and filter, and downloads of tables and figures: no server, no library, no address.
// Without it every page is whole. A page's text is read and set as text alone, never as markup.
(() => {
  "use strict";

  const SORTED_FROM = 3; // rows
  const FILTERED_FROM = 15;
  // Sizes in bytes, stretches of time in hours.
  const UNITS = new Map([["kB", 1e3], ["MB", 1e6], ["GB", 1e9], ["min", 1 / 60], ["d", 24]]);
  const NUMBER =
    /^(?:[▲≤≥<>±~]\s*)*([+−-]?)(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?(e[+-]?\d+)?(?=$|[\s%×;:,](?!\d))\s*([A-Za-z]*)/;
  const PLAIN = /^[+−-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[+-]?\d+)?$/;
  // As in analysis/tables.py: an apostrophe keeps a spreadsheet from running what it would take for a formula.
  const FORMULA = /^\s*[=+\-@＝＋－＠\t\r]/;
  const AFTER_SEMICOLON = /(;[\s"]*)(?=[=+\-@＝＋－＠])/g;
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  function make(tag, name, text = "") {
    const element = document.createElement(tag);
    element.className = name;
    element.textContent = text;
    return element;
  }

  function button(name, text, label, press) {
    const element = make("button", name, text);
    element.type = "button";
    element.setAttribute("aria-label", label);
    element.addEventListener("click", press);
    return element;
  }

  // The lines of a cell: its value, and what stands below it.
  function lines(cell) {
    const out = [""];
    const walk = (node) => {
      for (const child of node.childNodes) {
        if (child.nodeType === Node.TEXT_NODE) out[out.length - 1] += child.nodeValue;
        else if (child.nodeName === "BR") out.push("");
        else if (!child.matches("button, .rr-web")) walk(child);
      }
    };
    walk(cell);
    return out.map((line) => line.replace(/\s+/g, " ").trim());
  }

  const isEmpty = (text) => text === "" || text === "–";

  function number(text) {
    const found = NUMBER.exec(text);
    if (!found) return null;
    const size = Number(found[2].replaceAll(",", "") + (found[3] || "") + (found[4] || ""));
    return (/[−-]/.test(found[1]) ? -size : size) * (UNITS.get(found[5]) || 1);
  }

  // The rows in groups, each with its heading where it has one.
  function groupsOf(body) {
    const groups = [{ heading: null, rows: [] }];
    for (const row of body.rows) {
      const isHeading = row.matches(".gt_group_heading_row") || row.querySelector(".gt_group_heading");
      if (isHeading) groups.push({ heading: row, rows: [] });
      else groups.at(-1).rows.push(row);
    }
    return groups;
  }

  // Numbers as numbers, all else as words; what is not known stands last in either direction.
  function comparing(rows, place) {
    const texts = new Map(rows.map((row) => [row, row.cells[place] ? lines(row.cells[place])[0] : ""]));
    const held = [...texts.values()].filter((text) => !isEmpty(text));
    const numeric = held.every((text) => number(text) !== null);
    return (one, other, sign) => {
      const [a, b] = [texts.get(one), texts.get(other)];
      if (isEmpty(a) || isEmpty(b)) return isEmpty(a) - isEmpty(b);
      return sign * (numeric ? number(a) - number(b) : collator.compare(a, b));
    };
  }

  function sortable(heads, body, groups, say) {
    const all = groups.flatMap((group) => group.rows);
    if (all.length < SORTED_FROM) return;
    heads.forEach((head, place) => {
      const name = lines(head).join(" ");
      if (!name) return;
      const press = button("rr-sort", "", `Sort by ${name}`, () => {
        const next = { ascending: "descending", descending: "" }[head.getAttribute("aria-sort")] ?? "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        if (next) head.setAttribute("aria-sort", next);
        const compare = comparing(all, place);
        const sign = next === "descending" ? -1 : 1;
        for (const { heading, rows } of groups) {
          // A third press brings back the order of the report.
          const sorted = next ? [...rows].sort((a, b) => compare(a, b, sign)) : rows;
          body.append(...(heading ? [heading] : []), ...sorted);
        }
        say(next ? `Sorted by ${name}, ${next}.` : "In the order of the report.");
      });
      head.append(" ", press);
    });
  }

  function filterable(box, groups, title, say) {
    const total = groups.reduce((sum, group) => sum + group.rows.length, 0);
    if (total < FILTERED_FROM) return;
    const texts = new Map();
    for (const row of groups.flatMap((group) => group.rows))
      texts.set(row, [...row.cells].flatMap(lines).join(" ").toLowerCase());
    const tools = make("div", "rr-tools");
    const label = make("label", "", "Filter rows ");
    const count = make("span", "rr-count", `${total} rows`);
    const input = make("input", "");
    input.type = "search";
    input.autocomplete = "off";
    input.setAttribute("aria-label", `Filter rows: ${title}`);
    input.setAttribute("aria-controls", box.id);
    const apply = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const { heading, rows } of groups) {
        const before = shown;
        for (const row of rows) {
          row.hidden = !words.every((word) => texts.get(row).includes(word));
          if (!row.hidden) shown += 1;
        }
        if (heading) heading.hidden = shown === before;
      }
      count.textContent = words.length ? `${shown} of ${total} rows` : `${total} rows`;
      say(`${count.textContent} shown.`);
    };
    input.addEventListener("input", apply);
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !input.value) return;
      event.preventDefault();
      input.value = "";
      apply();
    });
    label.append(input);
    tools.append(label, count);
    box.before(tools);
  }

  function save(name, type, content) {
    const link = make("a", "");
    link.href = URL.createObjectURL(new Blob([content], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  function field(text) {
    if (PLAIN.test(text)) return text.replaceAll(",", "").replace("−", "-").replace("+", "");
    const unsigned = text.replace(/^\+(?=\d)/, "");
    const safe = (FORMULA.test(unsigned) ? "'" : "") + unsigned.replace(AFTER_SEMICOLON, "$1'");
    return `"${safe.replaceAll('"', '""')}"`;
  }

  // What is shown, in its order; what stands below a value follows it in brackets.
  function csv(heads, body) {
    const record = (cells) =>
      [...cells].map((cell) => {
        const [first, ...below] = lines(cell).filter((line) => !isEmpty(line));
        return field(below.length ? `${first} (${below.join("; ")})` : first || "");
      }).join(",");
    const rows = [...body.rows].filter((row) => !row.hidden).map((row) => record(row.cells));
    return ["\ufeff" + record(heads), ...rows, ""].join("\r\n");
  }

  function svgOf(figure) {
    const image = [...figure.querySelectorAll("img, svg")].find((one) => one.getClientRects().length);
    if (image instanceof SVGElement) return new XMLSerializer().serializeToString(image);
    const [lead, data] = (image?.getAttribute("src") || "").split(";base64,");
    return lead === "data:image/svg+xml" ? Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0)) : null;
  }

  function start() {
    const main = document.querySelector("main");
    if (!main) return;
    const told = make("div", "rr-told");
    told.setAttribute("role", "status");
    main.append(told);
    const say = (text) => { told.textContent = text; };
    for (const box of main.querySelectorAll(".rr-table[id]")) {
      const table = box.querySelector("table");
      const body = table?.tBodies[0];
      const heads = [...(table?.tHead?.rows[table.tHead.rows.length - 1]?.cells || [])];
      if (!body || !heads.length) continue;
      const title = box.getAttribute("aria-label") || "";
      const groups = groupsOf(body);
      // One in small type is a summary: all of it is seen at once, and its own order is the news.
      if (!box.closest(".rr-compact")) {
        sortable(heads, body, groups, say);
        filterable(box, groups, title, say);
      }
      const get = () => save(`${box.id}.csv`, "text/csv;charset=utf-8", csv(heads, body));
      table.tFoot?.querySelector(".rr-source")?.append(" ", button("rr-get", "Download CSV", `Download CSV: ${title}`, get));
    }
    for (const figure of main.querySelectorAll("figure.rr-figure[id]")) {
      if (svgOf(figure) === null) continue;
      const get = () => save(`${figure.id}.svg`, "image/svg+xml", svgOf(figure));
      const named = `Download SVG: ${figure.id.replace("figure-", "").replaceAll("-", " ")}`;
      figure.querySelector("figcaption")?.append(" ", button("rr-get", "Download SVG", named, get));
    }
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
