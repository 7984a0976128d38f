import { createElement, useState } from "react";
import { createRoot } from "react-dom/client";
import { marker } from "./marker.js";

function App() {
  const [clicks, setClicks] = useState(0);
  return createElement(
    "main",
    null,
    createElement("h1", { id: "marker" }, marker),
    createElement("button", { onClick: () => setClicks(clicks + 1) }, `Clicked ${clicks} times`),
  );
}

createRoot(document.getElementById("root")).render(createElement(App));
