/* Keeps what is going on up to date: asks for the part of the page marked `data-live` (seconds) again and again, until
   there is none. Without this file the page asks for itself again as a whole. */
"use strict";

(() => {
  let part = document.querySelector("[data-live]");
  if (!part) return;

  async function again() {
    try {
      const answer = await fetch(location.href, { headers: { "X-Live": "1" }, redirect: "error" });
      if (!answer.ok) throw new Error(`answered ${answer.status}`);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const next = page.querySelector("[data-live]");
      if (!next) return location.reload(); // it ended
      part.replaceWith(next);
      part = next;
    } catch {
      // The connection broke for a moment; the next one may come through.
    }
    return wait();
  }

  const wait = () => setTimeout(again, 1000 * part.dataset.live);
  wait();
})();
