/** The code of the views that are not on the first page, one module and so one request. */

export { Compare } from "./Compare";
export { Layer } from "./Layer";
export { LimitHandle } from "./LimitHandle";
export { Overview } from "./Overview";
export { Ranks } from "./Ranks";
export { Tune } from "./Tune";
