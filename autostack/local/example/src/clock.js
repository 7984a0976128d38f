// Say when the page was built in the reader's own words, and keep it true while the page is open.
const built = document.getElementById("built");
const builtAt = Date.parse(built.dateTime);
const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

function tell() {
  const seconds = Math.max(1, Math.round((Date.now() - builtAt) / 1000));
  const [unit, size] = UNITS.find(([, length]) => seconds >= length);
  built.textContent = words.format(-Math.floor(seconds / size), unit);
}

document.getElementById("host").textContent = location.host;
tell();
setInterval(tell, 1000);
