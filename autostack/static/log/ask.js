// Asking the server for lines, as HTMX would: whoever is signed out by now is sent to sign in, and back to this page.

const TIMEOUT_MS = 60_000;

/** Return the answer; none if the browser is on its way elsewhere. Throws if there is no answer, or a refusal. */
export async function ask(url) {
  const headers = { "HX-Request": "true", "HX-Current-URL": location.href };
  const answer = await fetch(url, { headers, signal: AbortSignal.timeout(TIMEOUT_MS) });
  const elsewhere = answer.headers.get("HX-Redirect");
  if (elsewhere) return void location.assign(elsewhere);
  if (!answer.ok) throw new Error(`The server answered ${answer.status}`);
  return answer;
}
