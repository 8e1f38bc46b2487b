// What goes between the page and its server: requests, files, and the stream of states.

let tab = null;
let mostBytes = 0; // of one upload

export class Refused extends Error {}

async function answer(response) {
  const content = await response.json().catch(() => ({ error: `the server answered ${response.status}` }));
  if (!response.ok) throw new Refused(content.error);
  return content;
}

export async function openTab() {
  const about = await answer(await fetch("/api/tabs", { method: "POST" }));
  tab = about.tab;
  mostBytes = about.upload_bytes;
  return about;
}

export const address = (path) => `/api/tabs/${tab}/${path}`;

export async function ask(what, body = {}) {
  return answer(await fetch(address(what), { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } }));
}

export async function upload(file) {
  if (file.size > mostBytes) throw new Refused(`${file.name} is larger than ${mostBytes >> 20} MiB; make it smaller`);
  const headers = { "X-File-Name": encodeURIComponent(file.name), "Content-Type": "application/octet-stream" };
  return (await answer(await fetch(address("uploads"), { method: "POST", body: file, headers }))).upload;
}

// `onState` for each state; `onGone(true)` when the server is not there, `onGone(false)` when it is again.
export function listen(onState, onGone) {
  const events = new EventSource(address("events"));
  events.onmessage = (event) => { onGone(false); onState(JSON.parse(event.data)); };
  events.onerror = () => onGone(true);
  return events;
}

export function picture(path) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Refused("a picture did not come"));
    image.src = address(path);
  });
}
