// What the pages do beyond plain HTML: they follow what happens, and have keys. Everything works
// without this file; nothing here knows what a page is about.
"use strict";

(() => {
  const live = document.querySelector(".live");
  if (live) live.hidden = false;
  const keysAreOff = () => localStorage.getItem("surety.keys") === "off";

  // 1. Following what happens: the parts of the page that say so are asked for again.

  const POLL_MS = 5000;
  const DEBOUNCE_MS = 250;
  const AGE_MS = 3000;
  let state = "live";
  let isPausedByHand = false;
  let isStale = false;
  let isRefreshing = false;
  let timer = 0;
  let ageTimer = 0;

  const WORDS = { live: "Live", paused: "Paused", lost: "Reconnecting", out: "Signed out: reload" };

  function show(next) {
    if (!live || state === next) return;
    state = next;
    live.dataset.state = next === "out" ? "lost" : next;
    live.querySelector("span").textContent = WORDS[next];
  }

  // Nothing may move under somebody's hand: a form that is open, a text that is being marked.
  function isBusy() {
    const selection = document.getSelection();
    return (
      document.hidden ||
      isPausedByHand ||
      document.querySelector("main details[open] form, dialog[open], main input[type=checkbox]:checked") !== null ||
      (selection !== null && !selection.isCollapsed) ||
      (document.activeElement !== null && document.activeElement.matches("main input, main select, main textarea"))
    );
  }

  function refreshSoon() {
    isStale = true;
    clearTimeout(timer);
    timer = setTimeout(refresh, DEBOUNCE_MS);
  }

  async function refresh() {
    if (isBusy()) return show(isPausedByHand || document.hidden ? "paused" : state);
    if (isRefreshing) return refreshSoon();
    isRefreshing = true;
    isStale = false;
    try {
      const response = await fetch(location.href, { headers: { accept: "text/html" } });
      const where = new URL(response.url);
      if (where.pathname !== location.pathname) return show("out");
      if (!response.ok) return show("lost");
      const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
      if (!isBusy()) replaceParts(fresh);
      show("live");
      followAge();
    } catch {
      show("lost");
    } finally {
      isRefreshing = false;
    }
  }

  function replaceParts(fresh) {
    const focused = document.activeElement;
    const place = focused && focused.closest("[data-live]") ? placeOf(focused) : null;
    for (const part of document.querySelectorAll("[data-live]")) {
      const other = fresh.getElementById(part.id);
      if (other && other.innerHTML !== part.innerHTML) part.innerHTML = other.innerHTML;
    }
    if (place) find(place)?.focus({ preventScroll: true });
    mark();
  }

  // A replica may show later what nobody tells of any more.
  function followAge() {
    clearTimeout(ageTimer);
    if (document.getElementById("data-age")?.textContent) ageTimer = setTimeout(refreshSoon, AGE_MS);
  }

  // The link or button that had the focus is found again by where it leads.
  function placeOf(element) {
    const part = element.closest("[data-live]").id;
    return { part, href: element.getAttribute("href"), text: element.textContent };
  }

  function find({ part, href, text }) {
    const all = document.getElementById(part)?.querySelectorAll("a, button, summary") ?? [];
    return [...all].find((it) => (href ? it.getAttribute("href") === href : it.textContent === text));
  }

  function follow() {
    if (!live || !window.EventSource) return live && setInterval(refresh, POLL_MS);
    followAge();
    let failures = 0;
    const events = new EventSource("/ui/events");
    events.addEventListener("hello", () => {
      // Whatever happened while nobody told.
      if (failures > 0) refreshSoon();
      failures = 0;
      if (!isPausedByHand) show("live");
    });
    events.addEventListener("changed", refreshSoon);
    events.addEventListener("error", () => {
      failures += 1;
      if (failures > 1) show("lost");
      if (events.readyState !== EventSource.CLOSED) return;
      // A proxy that does not let streams through: ask now and then.
      events.close();
      setInterval(refresh, POLL_MS);
    });
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && isStale) refreshSoon();
  });
  setInterval(() => {
    if (isStale && !isBusy()) refresh();
  }, 1000);

  live?.addEventListener("click", pauseOrGoOn);

  function pauseOrGoOn() {
    isPausedByHand = !isPausedByHand;
    show(isPausedByHand ? "paused" : "live");
    live.setAttribute("aria-pressed", String(isPausedByHand));
    if (!isPausedByHand) refreshSoon();
  }

  // 2. Small forms: one at a time, the field first, and Escape closes.

  document.addEventListener(
    "toggle",
    (event) => {
      const act = event.target;
      if (!(act instanceof HTMLDetailsElement) || !act.matches(".act") || !act.open) return;
      for (const other of document.querySelectorAll(".act[open]")) if (other !== act) other.open = false;
      act.querySelector("input:not([type=hidden]), textarea, select, button")?.focus();
      act.querySelector(".sheet")?.scrollIntoView({ block: "nearest" });
    },
    true,
  );
  document.addEventListener("click", (event) => {
    for (const act of document.querySelectorAll(".act[open]")) if (!act.contains(event.target)) act.open = false;
  });
  document.addEventListener("submit", (event) => {
    // Twice is once too often.
    const form = event.target;
    if (form.dataset.sent) return event.preventDefault();
    if (form.method === "post") form.dataset.sent = "yes";
  });
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  });

  // 3. Keys.

  const dialog = document.getElementById("keys");
  const toggle = document.getElementById("keys-on");
  if (toggle) {
    toggle.checked = !keysAreOff();
    toggle.addEventListener("change", () => localStorage.setItem("surety.keys", toggle.checked ? "on" : "off"));
  }
  for (const button of document.querySelectorAll("[data-opens=keys]")) {
    button.hidden = false;
    button.addEventListener("click", () => dialog?.showModal());
  }

  let at = -1;
  let isAfterG = false;
  let gTimer = 0;

  const rows = () => [...document.querySelectorAll("main tbody tr")].filter((row) => row.querySelector("a[href]"));

  function mark() {
    rows().forEach((row, index) => row.classList.toggle("at", index === at));
  }

  function move(by) {
    const all = rows();
    if (all.length === 0) return;
    at = Math.max(0, Math.min(all.length - 1, at + by));
    mark();
    all[at].scrollIntoView({ block: "nearest" });
    all[at].querySelector("a[href]").focus({ preventScroll: true });
  }

  function go(key) {
    document.querySelector(`.menu a[data-key="${CSS.escape(key)}"]`)?.click();
  }

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      const act = document.querySelector(".act[open]");
      if (act) {
        act.open = false;
        act.querySelector("summary").focus();
      } else if (document.activeElement?.matches("main input")) document.activeElement.blur();
      return;
    }
    const isTyping = event.target.matches?.("input, select, textarea") || event.target.isContentEditable;
    if (isTyping || keysAreOff() || event.ctrlKey || event.metaKey || event.altKey || dialog?.open) return;
    if (isAfterG) {
      isAfterG = false;
      clearTimeout(gTimer);
      return go(event.key);
    }
    switch (event.key) {
      case "g":
        isAfterG = true;
        gTimer = setTimeout(() => (isAfterG = false), 1500);
        return;
      case "/": {
        const field = document.querySelector("main [data-search]");
        if (!field) return go("j");
        event.preventDefault();
        return field.focus();
      }
      case "j":
        return move(1);
      case "k":
        return move(-1);
      case "p":
        return live && pauseOrGoOn();
      case "?":
        return dialog?.showModal();
    }
  });

  document.querySelector(".menu a[aria-current]")?.scrollIntoView({ block: "nearest" });
  follow();
})();
