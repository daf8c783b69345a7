// The words of the page, in the languages it speaks, and how numbers and times are written in them.

const WORDS = {
  en: {
    training: "Training", live: "Live", final: "Final", task: "task {state}", attempt: "attempt {n}",
    progress: "Training progress", step: "Step", steps: "{step} of {total}",
    expected: "Expected end", ended: "Ended", took: "took {time}",
    latest: "Latest {name}", best: "Best {name}", best_one: "best", at_step: "at step {step}",
    loss: "Loss", accuracy: "Accuracy", reward: "Reward", more: "More metrics",
    train: "training", valid: "validation", full_valid: "full validation",
    log: "Logarithmic loss", smoothing: "Smoothing", cursor: "{name}: step to read",
    latest_lowest: "{name} {value} at step {step}, lowest {low}, highest {high}",
    checkpoints: "Checkpoints", model: "Model", checkpoint_at: "Checkpoint at step {step}",
    copy: "Copy", copied: "Copied",
    events: "Events", no_events: "No events yet.", warn: "warning", error: "error",
    job: "Job", job_id: "Job id", base_model: "Base model", method: "Method", fine_tuned_model: "Fine-tuned model",
    trained_tokens: "Trained tokens", hyperparameters: "Hyperparameters", created: "Created", finished: "Finished",
    answers: "Answers", graded: "{source}, graded by {grader}. Examples: {examples}.",
    scores: "Scores", score: "Score", interval: "Interval ({share})", errors: "Errors", empty: "Empty", ungraded: "Ungraded", cost: "Cost",
    against: "Compared with {name}", baseline: "Baseline", wins: "Wins", losses: "Losses", ties: "Ties", difference: "Difference", p_value: "p-value",
    differ_most: "Where {name} differs most", line: "Line of the dataset",
    texts_in: "The texts are in the report: {report}",
    history: "History", when: "Since", by: "By",
    outcomes: { promoted: "promoted", rolled_back: "rolled back", kept: "not promoted", unchanged: "unchanged" },
    vendor_page: "The job at its vendor",
    nothing_ours: "Nothing to show yet.",
    nothing: "This is not a fine-tuning task: there is no training to show.",
    missing: "Airflow does not know this task.",
    soon: "The curves begin with the first steps.",
    at_end: "On Airflow {version} the curves fill in when the job ends. From 3.3 on they are live.",
    without: "The endpoint told no metrics.",
    went_on: "This task ended while the job was {status}. The task that waits for the job shows the rest.",
    stored: "These values are kept in object storage, where Airflow's API does not read them: {keys}.",
    login: "Your session is over. Log in to Airflow again.",
    forbidden: "You may not see this task's XComs.",
    again: "Airflow does not answer. Trying again.", retry: "Try again",
    statuses: { validating_files: "checking files", queued: "queued", pending: "pending", running: "running",
      pausing: "pausing", paused: "paused", resuming: "resuming", succeeded: "succeeded", failed: "failed",
      cancelling: "cancelling", cancelled: "cancelled", unknown: "unknown" },
  },
  ko: {
    training: "학습", live: "실시간", final: "최종", task: "태스크 {state}", attempt: "{n}번째 시도",
    progress: "학습 진행률", step: "스텝", steps: "{total} 중 {step}",
    expected: "예상 종료", ended: "종료", took: "{time} 소요",
    latest: "최근 {name}", best: "최저 {name}", best_one: "최적", at_step: "스텝 {step}",
    loss: "손실", accuracy: "정확도", reward: "보상", more: "기타 지표",
    train: "학습", valid: "검증", full_valid: "전체 검증",
    log: "손실 로그 스케일", smoothing: "스무딩", cursor: "{name}: 읽을 스텝",
    latest_lowest: "{name} {value}, 스텝 {step}, 최저 {low}, 최고 {high}",
    checkpoints: "체크포인트", model: "모델", checkpoint_at: "스텝 {step}의 체크포인트",
    copy: "복사", copied: "복사됨",
    events: "이벤트", no_events: "아직 이벤트가 없습니다.", warn: "경고", error: "오류",
    job: "작업", job_id: "작업 ID", base_model: "기본 모델", method: "방법", fine_tuned_model: "파인튜닝된 모델",
    trained_tokens: "학습된 토큰", hyperparameters: "하이퍼파라미터", created: "생성", finished: "완료",
    answers: "답변", graded: "{source}의 예시 {examples}개, 채점: {grader}.",
    scores: "점수", score: "점수", interval: "구간 ({share})", errors: "오류", empty: "빈 답변", ungraded: "미채점", cost: "비용",
    against: "{name} 대비", baseline: "기준 모델", wins: "승", losses: "패", ties: "무", difference: "차이", p_value: "p값",
    differ_most: "{name}의 차이가 가장 큰 예시", line: "데이터셋의 줄",
    texts_in: "내용은 보고서에 있습니다: {report}",
    history: "이력", when: "시점", by: "담당",
    outcomes: { promoted: "승격됨", rolled_back: "되돌림", kept: "승격되지 않음", unchanged: "변경 없음" },
    vendor_page: "제공자의 작업 페이지",
    nothing_ours: "아직 표시할 내용이 없습니다.",
    nothing: "파인튜닝 태스크가 아니므로 표시할 학습이 없습니다.",
    missing: "Airflow에서 이 태스크를 찾을 수 없습니다.",
    soon: "첫 스텝부터 곡선이 그려집니다.",
    at_end: "Airflow {version}에서는 작업이 끝나면 곡선이 채워집니다. 3.3부터는 실시간으로 표시됩니다.",
    without: "엔드포인트가 이 작업의 지표를 제공하지 않았습니다.",
    went_on: "이 태스크는 작업이 {status} 상태일 때 끝났습니다. 나머지는 작업을 기다리는 태스크에서 볼 수 있습니다.",
    stored: "오브젝트 스토리지에 있어 Airflow API로 읽을 수 없는 값입니다: {keys}.",
    login: "세션이 만료되었습니다. Airflow에 다시 로그인하세요.",
    forbidden: "이 태스크의 XCom을 볼 권한이 없습니다.",
    again: "Airflow가 응답하지 않아 다시 시도하고 있습니다.", retry: "다시 시도",
    statuses: { validating_files: "파일 확인 중", queued: "대기 중", pending: "대기 중", running: "진행 중",
      pausing: "일시 중지 중", paused: "일시 중지됨", resuming: "재개 중", succeeded: "성공", failed: "실패",
      cancelling: "취소 중", cancelled: "취소됨", unknown: "알 수 없음" },
  },
};

/** The language of Airflow's UI, else the browser's. */
export const language = () => localStorage.getItem("i18nextLng") || navigator.language || "en";

/** A function that gives the words of a language, and has functions for numbers, times and metrics. */
export function wordsOf(tag) {
  const known = WORDS[tag.slice(0, 2)] ?? WORDS.en;
  const locale = tag in WORDS || WORDS[tag.slice(0, 2)] ? tag : "en";
  const words = (key, values = {}) => known[key].replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
  words.language = known === WORDS.ko ? "ko" : "en";
  words.outcome = (outcome) => known.outcomes[outcome] ?? String(outcome);
  words.status = (status) => known.statuses[status] ?? String(status);

  const whole = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
  const broken = new Intl.NumberFormat(locale, { maximumSignificantDigits: 4 });
  words.number = (value) => {
    if (typeof value !== "number" || !Number.isFinite(value)) return "–";
    if (Number.isInteger(value)) return whole.format(value);
    return Math.abs(value) < 1e-3 ? value.toExponential(2) : broken.format(value);
  };

  // The zone that is chosen in Airflow's UI, which is UTC by default.
  const zone = validZone((localStorage.getItem("timezone") ?? "UTC").replaceAll('"', ""));
  const format = (options) => new Intl.DateTimeFormat(locale, { timeZone: zone, ...options });
  const day = format({ dateStyle: "medium" });
  const clock = format({ timeStyle: "medium" });
  const minute = format({ timeStyle: "short" });
  const at = (formatter, seconds) => (seconds > 0 ? formatter.format(new Date(seconds * 1000)) : "–");
  const isToday = (seconds) => at(day, seconds) === day.format(new Date());
  words.moment = (seconds) => (isToday(seconds) ? "" : `${at(day, seconds)} `) + at(clock, seconds);
  words.minute = (seconds) => (isToday(seconds) ? "" : `${at(day, seconds)} `) + at(minute, seconds);

  const unit = (value, name) =>
    new Intl.NumberFormat(locale, { style: "unit", unit: name, unitDisplay: "long" }).format(value);
  words.span = (seconds) => {
    const minutes = Math.round(seconds / 60), hours = Math.floor(minutes / 60);
    if (seconds < 60) return unit(Math.max(0, Math.round(seconds)), "second");
    if (!hours) return unit(minutes, "minute");
    return minutes % 60 ? `${unit(hours, "hour")} ${unit(minutes % 60, "minute")}` : unit(hours, "hour");
  };
  const relative = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });
  words.until = (seconds) => {
    const minutes = Math.round((seconds - Date.now() / 1000) / 60);
    return Math.abs(minutes) < 90 ? relative.format(minutes, "minute") : relative.format(Math.round(minutes / 60), "hour");
  };

  /** The words for a metric: "full_valid_mean_token_accuracy" is the full validation accuracy. */
  words.metric = (key) => {
    const { part, kind } = metricOf(key);
    if (!kind || !/^(train|valid|full_valid)_(mean_token_)?(loss|accuracy)$|reward/.test(key)) return key.replaceAll("_", " ");
    const noun = known[kind].toLowerCase();
    return part ? `${known[part]} ${noun}` : noun;
  };
  words.title = (key) => words.metric(key).replace(/^./u, (first) => first.toUpperCase());
  return words;
}

/** What a metric is of (train, valid, full_valid) and which chart it belongs to (loss, accuracy, reward). */
export function metricOf(key) {
  return {
    part: /^(full_valid|valid|train)/.exec(key)?.[1],
    kind: ["loss", "accuracy", "reward"].find((kind) => key.includes(kind)),
  };
}

function validZone(zone) {
  try {
    new Intl.DateTimeFormat("en", { timeZone: zone });
    return zone;
  } catch {
    return "UTC";
  }
}
