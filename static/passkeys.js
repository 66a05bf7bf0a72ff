/* Shows what has to do with passkeys where the browser knows them, and says on the page when one was not used.
   Asking for one is done by allauth's webauthn.js. Without this file the buttons stay hidden. */
"use strict";

(() => {
  if (!window.PublicKeyCredential) return;
  for (const part of document.querySelectorAll("[data-passkey]")) part.hidden = false;
  for (const part of document.querySelectorAll("[data-passkey-missing]")) part.hidden = true;

  document.addEventListener("allauth.error", (event) => {
    event.preventDefault();
    for (const part of document.querySelectorAll("[data-passkey-problem]")) part.hidden = false;
  });
})();
