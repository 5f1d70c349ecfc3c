// The storefront page: asks the gateway, shows cards, reports interest and shows what that changed.
"use strict";

const REFRESH_MS = 1000; // by then the consumer has applied an event
const REASONS = {
  ranking_unavailable: "the ranking is not available; popular items replace it",
  popularity_unavailable: "popularity is not available; the catalogue's promoted items replace it",
  user_features_unavailable: "what the shop knows of you is not available",
  seen_filter_unavailable: "items that you have seen may appear again",
  availability_unavailable: "what is out of stock is not known at the moment",
};
const by = (id) => document.getElementById(id);
// no symbol: the shop gives amounts, not their currency
const money = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
let asked = null; // visitor of the list that is shown
let shown = new Set(); // item ids of that list
let turn = 0; // only the answer to the latest question is shown

async function post(path, body) {
  const headers = { "content-type": "application/json" };
  if (by("token").value) headers.authorization = "Bearer " + by("token").value;
  const response = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  const answer = await response.json();
  if (response.ok) return { ...answer, requestId: response.headers.get("x-request-id") };
  if (response.status === 401 || response.status === 403) by("token-field").hidden = false;
  const { field, message } = answer.error;
  throw new Error(field ? field + ": " + message : message);
}

function question() {
  const ask = { user_id: by("user").value, top_k: Number(by("top-k").value) };
  if (by("device").value) ask.device_type = by("device").value;
  if (by("hour").value) ask.timestamp = Math.floor(new Date().setUTCHours(Number(by("hour").value), 0, 0, 0) / 1000);
  return ask;
}

function card(item, fresh, ask, requestId) {
  const node = by("card").content.firstElementChild.cloneNode(true);
  const picture = node.querySelector(".picture");
  const image = node.querySelector("img");
  const title = item.title || item.item_id;
  image.addEventListener("error", () => { image.remove(); picture.classList.add("none"); });
  image.src = item.image;
  node.classList.toggle("fresh", fresh);
  node.querySelector(".new").hidden = !fresh;
  node.querySelector("h3").textContent = title;
  node.querySelector(".categories").textContent = [item.category_l1, item.category_l2].filter(Boolean).join(" › ");
  if (item.price === null) node.querySelector(".price").remove();
  else node.querySelector(".price").textContent = money.format(item.price);
  node.querySelector(".score").textContent = "score " + item.score.toFixed(3);
  const button = node.querySelector("button");
  button.setAttribute("aria-label", "Interested in " + title);
  button.addEventListener("click", () => report("View", button, item, ask, requestId));
  const dismiss = node.querySelector(".dismiss");
  dismiss.setAttribute("aria-label", "Not interested in " + title);
  dismiss.addEventListener("click", () => report("Dismiss", dismiss, item, ask, requestId));
  return node;
}

function show(answer, ask) {
  const before = asked === ask.user_id ? shown : null; // for another visitor, no item is "new"
  const added = before ? answer.items.filter((item) => !before.has(item.item_id)) : [];
  by("cards").replaceChildren(...answer.items.map((item) => card(item, added.includes(item), ask, answer.requestId)));
  asked = ask.user_id;
  shown = new Set(answer.items.map((item) => item.item_id));
  by("release").textContent = answer.release
    ? "query tower " + answer.release.query + " · ranker " + answer.release.ranker +
      " · rung " + answer.release.rung.replaceAll("_", "-") +
      (answer.release.learnt_to ? " · learnt to " + answer.release.learnt_to : "") +
      (answer.release.hides ? " · hides " + answer.release.hides : "") : "no release answered";
  by("degraded").hidden = !answer.degraded;
  by("degraded").textContent = "Limited recommendations: " + answer.reasons.map((r) => REASONS[r] || r).join("; ") + ".";
  return answer.items.length + " items" + (before ? ", " + added.length + " new" : "");
}

async function recommend(ask) {
  const mine = ++turn;
  try {
    const answer = await post("/recommend", ask);
    if (mine === turn) by("message").textContent = show(answer, ask) + ".";
  } catch (error) {
    if (mine === turn) by("message").textContent = "No recommendations: " + error.message;
  }
}

async function report(type, button, item, ask, requestId) {
  button.disabled = true;
  const event = { user_id: ask.user_id, item_id: item.item_id, event_type: type };
  if (ask.device_type) event.device_type = ask.device_type;
  if (requestId) event.request_id = requestId; // joins the event to the answer that showed the item
  try {
    await post("/events", event);
    button.textContent = "Noted";
    by("message").textContent = "Noted. Looking for what this changes…";
    const mine = turn;
    // a question asked meanwhile, or a later click, refreshes the list by itself
    setTimeout(() => { if (mine === turn) recommend(ask); }, REFRESH_MS);
  } catch (error) {
    button.disabled = false;
    by("message").textContent = "Not noted: " + error.message;
  }
}

by("ask").addEventListener("submit", (event) => { event.preventDefault(); recommend(question()); });
recommend(question());
