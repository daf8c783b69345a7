// Making elements. A text is always a text node, and a link leads nowhere but to http(s).
const SVG = "http://www.w3.org/2000/svg";

export const h = (tag, attributes, ...children) => made(document.createElement(tag), attributes, children);
export const s = (tag, attributes, ...children) => made(document.createElementNS(SVG, tag), attributes, children);

function made(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) node.style.setProperty(name, value); // an attribute "style" may be forbidden
    else if (value === true) node.setAttribute(name, "");
    else if (value !== undefined && value !== null && value !== false) node.setAttribute(name, value);
  }
  fill(node, ...children);
  return node;
}

/** Replace what is in a node. */
export function fill(node, ...children) {
  node.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
}

/**
 * A table that scrolls by itself. columns: [title, whether its cells are numbers]; rows: {cells, best}, the first cell
 * of a row is its heading.
 */
export function table(name, columns, rows) {
  const place = (n) => columns[n][1] && "ft-number";
  return [h("h2", {}, name), h("div", { class: "ft-scroll", role: "region", tabindex: 0, "aria-label": name }, h("table", {},
    h("thead", {}, h("tr", {}, columns.map(([title], n) => h("th", { scope: "col", class: place(n) }, title)))),
    h("tbody", {}, rows.map(({ cells, best }) => h("tr", { class: best && "ft-best" }, cells.map((cell, n) =>
      n ? h("td", { class: place(n) }, cell) : h("th", { scope: "row" }, cell)))))))];
}

/** How far something is: its `element`, and `show(share from 0 to 1 or null, kind)`. */
export function progressBar(name) {
  const element = h("div", { class: "ft-bar", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": name }, h("i"));
  return { element, show(share, kind) {
    const percent = 100 * (share ?? 0);
    element.hidden = share === null;
    element.className = `ft-bar ft-is-${kind}`;
    element.setAttribute("aria-valuenow", Math.round(percent));
    element.firstChild.style.width = `${percent}%`;
  } };
}

/** The state of the task, and whether the page is live. */
export function state(instance, live, words) {
  const attempt = instance?.try_number > 1 ? ` · ${words("attempt", { n: instance.try_number })}` : "";
  return h("span", { class: "ft-state" }, live && h("i", { class: "ft-pulse" }),
    `${words(live ? "live" : "final")} · ${words("task", { state: instance?.state ?? "–" })}${attempt}`);
}

/** A link to another site; nothing where that is not what the text is. */
export function link(url, label) {
  if (typeof url !== "string" || !/^https?:\/\//i.test(url)) return null;
  return h("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, label, " ↗");
}

/** A text in one piece, with a button that copies it. */
export function copyable(text, words) {
  const button = h("button", { type: "button", class: "ft-copy", "aria-label": `${words("copy")}: ${text}` }, words("copy"));
  button.addEventListener("click", async () => {
    const done = await copy(text, button);
    button.textContent = words(done ? "copied" : "copy");
    setTimeout(() => { button.textContent = words("copy"); }, 2000);
  });
  return h("span", { class: "ft-copyable" }, h("code", {}, text), button);
}

async function copy(text, beside) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { // no clipboard where Airflow is served without TLS
    const field = h("textarea", { class: "ft-unseen", tabindex: "-1" });
    field.value = text;
    beside.after(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    beside.focus();
    return done;
  }
}
