// Asking the server for lines, as HTMX would: whoever is signed out by now is sent to sign in, and back to this page.

/** Return the answer; none if the browser is on its way elsewhere. Throws if there is no answer, or a refusal. */
export async function ask(url) {
  const answer = await fetch(url, { headers: { "HX-Request": "true", "HX-Current-URL": location.href } });
  const elsewhere = answer.headers.get("HX-Redirect");
  if (elsewhere) return void location.assign(elsewhere);
  if (!answer.ok) throw new Error(`The server answered ${answer.status}`);
  return answer;
}
