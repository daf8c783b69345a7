// The page's life: look at the task, show what there is of it, look again; nothing while nobody sees it.
import { Refused, Task } from "./airflow.js";
import { fill, h } from "./dom.js";
import { evaluation } from "./evaluation.js";
import { promotion } from "./promotion.js";
import { training } from "./training.js";
import { language, wordsOf } from "./words.js";

/** The view that knows a task's operator, or else its XCom `progress`, shows it. */
const VIEWS = [training, evaluation, promotion];

const EVERY = 5000, SELDOM = 30000; // milliseconds between two looks: at a task that goes on, at any other
const ENDED = new Set(["success", "failed", "skipped", "upstream_failed", "removed"]);

/** Show a task instance in a place; returns the function that ends it. task: {dagId, runId, taskId, mapIndex, api}. */
export function mount(place, task) {
  const over = new AbortController();
  const reader = new Task(task, over.signal);
  const style = new URL("./ui.css", import.meta.url).href;
  const banner = h("div", { role: "status" });
  const body = h("div", {});
  const root = h("section", { class: "ft" }, banner, body);
  place.replaceChildren(...(document.querySelector('link[href$="ui.css"]') ? [] : [h("link", { rel: "stylesheet", href: style })]), root);
  let words = null, page = null, view = null, version = null, timer = null, looking = false;

  const viewOf = ({ operator_name: name, operator }) => VIEWS.find(({ operators }) => operators.includes(name ?? operator));
  const wanted = (instance) => viewOf(instance)?.keys ?? (view ? view.keys : ["progress"]);

  async function look() {
    clearTimeout(timer);
    if (looking || document.hidden || over.signal.aborted) return; // seen again, it looks at once
    looking = true;
    let pause = SELDOM;
    try {
      let news = await reader.look(wanted);
      const found = reader.instance && (viewOf(reader.instance) ?? VIEWS.find((one) => one.isOurs(reader.values.progress)));
      if (found && found !== view) {
        view = found;
        news = (await reader.look(wanted)) || news;
      }
      if (view && version === null) version = await reader.version();
      pause = view && isLive() ? EVERY : SELDOM;
      if (banner.firstChild) fill(banner);
      if (news || language() !== words?.tag) show();
    } catch (error) {
      if (over.signal.aborted) return;
      pause = error instanceof Refused ? null : SELDOM;
      words ??= wordsOf(language());
      const why = error.status === 401 ? "login" : error.status === 403 ? "forbidden" : "again";
      fill(banner, h("p", { class: "ft-alert" }, words(why), " ", pause === null && h("button", { type: "button", onclick: look }, words("retry"))));
    } finally {
      looking = false;
    }
    if (pause !== null) timer = setTimeout(look, pause);
  }

  const isLive = () => reader.instance !== null && !ENDED.has(reader.instance.state);

  function show() {
    if (language() !== words?.tag) {
      words = wordsOf(language());
      words.tag = language();
      root.lang = words.language;
      page?.stop();
      page = null;
    }
    const { instance, values } = reader;
    const [given, stored] = sorted(values);
    if (!(view?.sign in values)) {
      page?.stop();
      page = null;
      fill(body, h("p", { class: "ft-note" }, words(!instance ? "missing" : view ? "nothing_ours" : "nothing")));
      return;
    }
    if (!page) {
      page = view.build(words);
      page.stored = h("p", { class: "ft-alert" });
      fill(body, page.stored, page.element);
    }
    page.stored.hidden = !stored.length;
    fill(page.stored, words("stored", { keys: stored.join(", ") }));
    page.update({ instance, values: given, live: isLive(), version });
  }

  const seen = () => document.hidden || look();
  document.addEventListener("visibilitychange", seen);
  look();
  return () => {
    over.abort();
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", seen);
    page?.stop();
    place.replaceChildren();
  };
}

/** Tell values from paths of values in object storage. */
function sorted(values) {
  const stored = Object.keys(values).filter((key) => typeof values[key] === "string" && key !== "job_link");
  return [Object.fromEntries(Object.entries(values).filter(([key]) => !stored.includes(key))), stored];
}
