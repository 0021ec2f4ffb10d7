/** Standard scalars on the step axis of the heatmap. */
export function Scalars() {
  return <section class="card" aria-label="Scalars" />;
}
