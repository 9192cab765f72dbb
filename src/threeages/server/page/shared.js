// What the pages share: requests to the service they come from, bars of probabilities, light and dark.

const ROOT = new URL("../", import.meta.url); // of the service: a proxy may put it under a sub-path
const TRIES = 6; // while the service is busy

export const byId = (id) => document.getElementById(id);

// The reply to a request; an error with the service's own words where it refuses, and its `status`.
export async function send(path, options = {}) {
  const key = sessionStorage.getItem("key");
  for (let attempt = 1; ; attempt += 1) {
    const headers = { ...options.headers, ...(key && { Authorization: `Bearer ${key}` }) };
    const reply = await fetch(new URL(path, ROOT), { ...options, headers });
    if (reply.ok) return reply;
    const wait = Number(reply.headers.get("Retry-After"));
    if (wait && wait <= 30 && attempt < TRIES) {
      await new Promise((done) => setTimeout(done, wait * 1000));
      continue;
    }
    const problem = await reply.json().catch(() => ({ detail: `The service answered ${reply.status}.` }));
    throw Object.assign(new Error([problem.detail, problem.hint].filter(Boolean).join(" ")), { status: reply.status });
  }
}

export const request = async (path, options) => (await send(path, options)).json();

export function fillProbs(list, probs, likeliest) {
  for (const [group, prob] of Object.entries(probs)) {
    const name = document.createElement("dt");
    name.textContent = group;
    name.classList.toggle("unlikely", group !== likeliest);
    const meter = document.createElement("dd");
    meter.className = `meter ${group.toLowerCase()}`;
    meter.setAttribute("aria-hidden", "true");
    const fill = document.createElement("div");
    fill.className = "fill";
    fill.style.width = `${100 * prob}%`;
    meter.append(fill);
    const value = document.createElement("dd");
    value.className = "value";
    value.textContent = `${Math.round(100 * prob)} %`;
    list.append(name, meter, value);
  }
}

export function switchTheme() {
  const { dataset } = document.documentElement;
  const now = dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  dataset.theme = now === "dark" ? "light" : "dark";
}
