/* Signing out at once: the page that asks whether to is fetched, and its form is sent.
   No page needs a token of its own for that. Without this file the button leads to the page that asks. */
"use strict";

document.addEventListener("submit", async (event) => {
  const asks = event.target;
  if (!asks.matches("[data-sign-out]")) return;
  event.preventDefault();
  try {
    const answer = await fetch(asks.action, { redirect: "error" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const form = page.querySelector("form[data-signs-out]");
    form.hidden = true;
    document.body.append(form);
    form.submit();
  } catch {
    location.assign(asks.action);
  }
});
