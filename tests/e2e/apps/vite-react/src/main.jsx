import { useState } from "react";
import { createRoot } from "react-dom/client";
import { marker } from "./marker.js";

function App() {
  const [clicks, setClicks] = useState(0);
  return (
    <main>
      <h1 id="marker">{marker}</h1>
      <button onClick={() => setClicks(clicks + 1)}>{`Clicked ${clicks} times`}</button>
    </main>
  );
}

createRoot(document.getElementById("root")).render(<App />);
