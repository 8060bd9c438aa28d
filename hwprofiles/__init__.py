"""The bundled hardware profiles: one YAML file a device, named ``<id>.yaml``, each figure with its source.

This is the schema ``roofline/hardware/1``, by example. ``roofline.profiles`` checks and loads it, and docs/profiles.md
says more. 1 MAC = 2 FLOPs; rates are dense, never sparse; SI prefixes are decimal, only MiB is binary::

    schema: roofline/hardware/1       # the version of the format
    id: my_device                     # lower-case words joined by '_'; of a bundled profile, the file's stem
    name: My Device NPU               # what people call it
    class: npu                        # cpu, gpu, dsp, npu, edgetpu or abstract

    # A figure is a number in the unit of its field's name, its kind, and where it comes from. Kinds: datasheet (printed
    # by the vendor), derived (arithmetic on such figures), fitted (so that predictions meet latencies), measured (on
    # the device), estimate (none of these).
    peak_gmacs_per_s:                 # one figure a dtype: fp32, fp16, bf16, int8
      fp16: {value: 2000, kind: derived, source: half of int8}
      int8: {value: 4000, kind: datasheet, source: "8 TOPS dense, product brief v1.2, p. 3; 2 ops = 1 MAC"}
    bandwidth_gb_per_s: {value: 34.1, kind: datasheet, source: "LPDDR4X-4266, 64 bit, product brief v1.2, p. 4"}

    default_dtype: int8               # one of the dtypes above, where --dtype does not say
    default_fusion: epilogue          # none (each op reads and writes memory) or epilogue, where --fusion does not say
    fused_activations: [relu, relu6]  # which activations the epilogue takes in; or: all; or: []

    # Each of these is optional. Without them a layer takes max(MACs / peak, bytes / bandwidth), and no more.
    combine: add                      # the times of a layer add up; max, the default: the longest counts
    peak_share_by_class:              # of the peak, for the MACs of a class of layers; docs/profiles.md lists these
      depthwise_conv: {value: 0.125, kind: derived, source: "4 of 32 lanes, programming guide, p. 12"}
    vector_gops_per_s: {value: 60, kind: estimate, source: one 64-wide unit at about 1 GHz}
    weight_bandwidth_gb_per_s: {value: 12, kind: fitted, source: "latencies of 12 networks, lab notes, 2024-05-01"}
    bandwidth_gb_per_s_by_class:      # of all bytes of a class; with one for transpose, views that reorder are layers
      transpose: {value: 5, kind: measured, source: "one 1x64x64x256 tensor, firmware 3.1, 2024-05-01"}
    layer_overhead_us: {value: 4, kind: measured, source: "slope of 1 to 64 empty layers, firmware 3.1, 2024-05-01"}
    overhead_layers: macs             # only layers that do MACs have it; all, the default: every layer
    inference_overhead_us: {value: 250, kind: measured, source: "an empty network, firmware 3.1, 2024-05-01"}
    onchip_mib: {value: 8, kind: datasheet, source: "product brief v1.2, p. 3"}
    onchip_holds: [weights, activations]  # what of these fits crosses no memory bus; or one of them; or: []
    energy_pj_per_mac: {value: 0.6, kind: estimate, source: "2 W at 8 TOPS, less memory"}
    energy_pj_per_byte: {value: 80, kind: estimate, source: typical of LPDDR4X}
    calibration: my_device.npz        # the file of 'roofline calibrate', from here; it changes none of the above
    notes: What a user of these figures has to know.

Tags, anchors and aliases are refused, and so is a field that is not listed here.
"""
