package resctrl

// Stats are the figures of a container's resctrl group, in the JSON shape of `runc events`.
type Stats struct {
	L3CacheInfo       *CacheInfo     `json:"l3_cache_info,omitempty"`
	L3CacheSchemaRoot string         `json:"l3_cache_schema_root,omitempty"`
	L3CacheSchema     string         `json:"l3_cache_schema,omitempty"`
	MemBwInfo         *BandwidthInfo `json:"mem_bw_info,omitempty"`
	MemBwSchemaRoot   string         `json:"mem_bw_schema_root,omitempty"`
	MemBwSchema       string         `json:"mem_bw_schema,omitempty"`
	Schemata          []string       `json:"schemata,omitempty"`
	Bandwidth         *[]Bandwidth   `json:"mbm_stats,omitempty"`
	Occupancy         *[]Occupancy   `json:"cmt_stats,omitempty"`
}

// CacheInfo is what info/L3 says of cache allocation.
type CacheInfo struct {
	Mask       string `json:"cbm_mask,omitempty"`
	MinBits    uint64 `json:"min_cbm_bits,omitempty"`
	NumClosIDs uint64 `json:"num_closids,omitempty"`
}

// BandwidthInfo is what info/MB says of memory bandwidth allocation.
type BandwidthInfo struct {
	Granularity  uint64 `json:"bandwidth_gran,omitempty"`
	DelayLinear  uint64 `json:"delay_linear,omitempty"`
	MinBandwidth uint64 `json:"min_bandwidth,omitempty"`
	NumClosIDs   uint64 `json:"num_closids,omitempty"`
}

// Bandwidth is memory traffic on one L3 cache.
type Bandwidth struct {
	TotalBytes uint64 `json:"mbm_total_bytes"`
	LocalBytes uint64 `json:"mbm_local_bytes"`
}

// Occupancy is use of one L3 cache.
type Occupancy struct {
	Bytes uint64 `json:"llc_occupancy"`
}
