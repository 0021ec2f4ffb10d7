/** The page of one layer. */
export function Layer() {
  return <section class="card" aria-label="Layer" />;
}
