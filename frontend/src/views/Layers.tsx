/** The layers × steps card. */
export function Layers() {
  return <section class="card" aria-label="Layers × steps" />;
}
