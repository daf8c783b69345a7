// What a task that promotes a model, or rolls back to one, has to show: the decision and the history.
import { copyable, fill, h, state, table } from "./dom.js";

export const promotion = {
  operators: ["PromoteModelOperator", "RollbackModelOperator"],
  sign: "return_value",
  keys: ["return_value", "history"],
  isOurs: () => false,
  build,
};

const KINDS = { promoted: "good", rolled_back: "on" };

function build(words) {
  const element = h("div", {});

  function update({ instance, values, live }) {
    const { outcome, name, reason, champion } = values.return_value ?? {};
    const rows = Array.isArray(values.history) ? values.history.filter((row) => typeof row?.model === "string") : [];
    fill(element,
      h("header", { class: "ft-head" },
        h("span", { class: `ft-badge ft-is-${KINDS[outcome] ?? "off"}`, role: "status" }, words.outcome(outcome)),
        h("b", {}, name), champion?.model && copyable(champion.model, words), state(instance, live, words)),
      reason && h("p", { class: "ft-alert" }, reason),
      rows.length > 0 && table(words("history"), [["#"], [words("model")], [words("score"), true], [words("when")], [words("by")]],
        rows.map((row, n) => ({ best: n === 0, cells: [
          words.number(row.number), h("code", {}, row.model), words.number(row.scores?.score),
          words.moment(Date.parse(row.promoted_at) / 1000), row.promoted_by ?? "–"] }))));
  }
  return { element, update, stop() {} };
}
