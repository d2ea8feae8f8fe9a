// Keeps the page as it is now: the server sends the parts that changed, as HTML it has escaped.
// Without this script the page reloads itself.
"use strict";

(() => {
  const QUIET_MS = 15000; // the server speaks every 5 s at least
  const live = document.getElementById("live");
  let source = null;
  let heard = Date.now();

  // Changes only what differs, so that focus, selection and a screen reader's place stay.
  const morph = (old, made) => {
    const before = [...old.childNodes];
    const after = [...made.childNodes];
    after.forEach((node, at) => {
      const known = before[at];
      if (!known) {
        old.append(node);
      } else if (known.nodeType !== node.nodeType || known.nodeName !== node.nodeName) {
        known.replaceWith(node);
      } else if (node.nodeType !== Node.ELEMENT_NODE) {
        if (known.nodeValue !== node.nodeValue) known.nodeValue = node.nodeValue;
      } else {
        for (const { name } of [...known.attributes]) {
          if (!node.hasAttribute(name)) known.removeAttribute(name);
        }
        for (const { name, value } of node.attributes) {
          if (known.getAttribute(name) !== value) known.setAttribute(name, value);
        }
        morph(known, node);
      }
    });
    before.slice(after.length).forEach((node) => node.remove());
  };

  const show = (parts) => {
    for (const [name, html] of Object.entries(parts)) {
      const part = document.querySelector(`[data-part="${CSS.escape(name)}"]`);
      if (!part) continue;
      const made = document.createElement("template");
      made.innerHTML = html;
      morph(part, made.content);
    }
    const word = document.querySelector(".word");
    if (word) document.title = `${word.textContent} · quantum ops`;
  };

  const tell = () => {
    const silent = Date.now() - heard;
    const stopped = silent > QUIET_MS;
    const words = stopped
      ? "Not live: nothing was heard for a while. What stands here may be old."
      : "Live.";
    if (live.textContent !== words) live.textContent = words;
    live.classList.toggle("stopped", stopped);
    const word = document.querySelector(".word");
    if (!stopped || !word || word.textContent === "not live") return;
    // Nothing old may look good; the next message writes the word again.
    if (word.textContent !== "VIOLATION") word.textContent = "not live";
    document.querySelector(".verdict").classList.add("attention");
    document.title = "not live · quantum ops";
  };

  const open = () => {
    if (source) return;
    source = new EventSource("/events");
    source.onmessage = (event) => {
      heard = Date.now();
      show(JSON.parse(event.data));
      tell();
    };
    source.addEventListener("here", () => { heard = Date.now(); tell(); });
    source.onerror = () => {
      // A refused stream (503) is closed for good by the browser; come again.
      if (source && source.readyState === EventSource.CLOSED) {
        close();
        setTimeout(() => { if (!document.hidden) open(); }, 5000);
      }
    };
  };

  const close = () => {
    source?.close();
    source = null;
  };

  // A hidden tab holds no stream: browsers allow six connections to one server.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      close();
    } else {
      open();
    }
  });
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", () => { if (!document.hidden) open(); });
  setInterval(tell, 1000);
  open();
})();
