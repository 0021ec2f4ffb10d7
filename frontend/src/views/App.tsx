import { Layers } from "./Layers";
import { Scalars } from "./Scalars";

export function App() {
  return (
    <main>
      <Layers />
      <Scalars />
    </main>
  );
}
