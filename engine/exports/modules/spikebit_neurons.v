// One neuron layer: the seven points of a step (docs/program.md), one neuron after the other.
//
// "restart" sets the state before a sample, "start" runs one step; "done" is high when neither is under way. For every
// neuron the layer asks its connections for their sums and takes them when all are ready.
module spikebit_neurons #(
    parameter NEURONS = 1,
    parameter STATE_BITS = 16,
    parameter WIDE = 64, // every number of a step fits (the program's proved bounds)
    parameter CURRENT = 0, // 1: the layer has a current
    parameter OLD_CURRENT = 0, // 1: the membrane sees the current of the step before
    parameter SPIKES = 1, // 0: it never spikes
    parameter RESET = 0, // 0 none, 1 subtract, 2 to value
    parameter NEXT_STEP = 0, // 1: a spike resets in the step after
    parameter AFTER_LEAK = 0,
    parameter DROP_INPUT = 0,
    parameter LEAK_V = 0, // 0 none, 1 shift, 2 multiply and shift
    parameter LEAK_I = 0,
    parameter ROUND_V = 0, // 0 floor, 1 toward zero, 2 half up
    parameter ROUND_I = 0,
    parameter SHIFT_V = 0,
    parameter SHIFT_I = 0,
    parameter FACTOR_BITS = 17,
    parameter FLOORED = 0,
    parameter LEAK_V_FILE = "",
    parameter LEAK_I_FILE = "",
    parameter BIAS_FILE = "",
    parameter BIAS_I_FILE = "",
    parameter FIRE_AT_FILE = "",
    parameter RESET_DELTA_FILE = "",
    parameter RESET_TO_FILE = "",
    parameter FLOOR_FILE = "",
    parameter START_FILE = ""
) (
    input wire clk,
    input wire restart,
    input wire start,
    output reg done,
    output reg ask,
    output reg [31:0] row,
    input wire ready,
    input wire signed [WIDE-1:0] sums,
    output reg [NEURONS-1:0] spikes, // of this step, when done
    output reg [NEURONS-1:0] before, // of the step before
    output wire [NEURONS*STATE_BITS-1:0] membranes
);
    localparam signed [WIDE-1:0] ONE = 1;
    localparam signed [WIDE-1:0] HIGH = (ONE <<< (STATE_BITS - 1)) - 1;
    localparam signed [WIDE-1:0] LOW = -(ONE <<< (STATE_BITS - 1));
    localparam IDLE = 0, CLEAR = 1, ASK = 2, WAIT = 3, UPDATE = 4;

    reg signed [FACTOR_BITS-1:0] leak_v [0:NEURONS-1];
    reg signed [FACTOR_BITS-1:0] leak_i [0:NEURONS-1];
    reg signed [STATE_BITS-1:0] bias [0:NEURONS-1];
    reg signed [STATE_BITS-1:0] bias_i [0:NEURONS-1];
    reg signed [STATE_BITS-1:0] fire_at [0:NEURONS-1];
    reg reset_delta [0:NEURONS-1];
    reg signed [STATE_BITS-1:0] reset_to [0:NEURONS-1];
    reg signed [STATE_BITS-1:0] floors [0:NEURONS-1];
    reg signed [STATE_BITS-1:0] starts [0:NEURONS-1];
    reg signed [STATE_BITS-1:0] v [0:NEURONS-1];
    reg signed [STATE_BITS-1:0] i [0:NEURONS-1];
    reg [2:0] state;
    integer k;

    initial begin
        for (k = 0; k < NEURONS; k = k + 1) begin
            leak_v[k] = 0; leak_i[k] = 0; bias[k] = 0; bias_i[k] = 0; fire_at[k] = 0;
            reset_delta[k] = 0; reset_to[k] = 0; floors[k] = 0; starts[k] = 0; v[k] = 0; i[k] = 0;
        end
        if (LEAK_V_FILE != "") $readmemh(LEAK_V_FILE, leak_v);
        if (LEAK_I_FILE != "") $readmemh(LEAK_I_FILE, leak_i);
        if (BIAS_FILE != "") $readmemh(BIAS_FILE, bias);
        if (BIAS_I_FILE != "") $readmemh(BIAS_I_FILE, bias_i);
        if (FIRE_AT_FILE != "") $readmemh(FIRE_AT_FILE, fire_at);
        if (RESET_DELTA_FILE != "") $readmemh(RESET_DELTA_FILE, reset_delta);
        if (RESET_TO_FILE != "") $readmemh(RESET_TO_FILE, reset_to);
        if (FLOOR_FILE != "") $readmemh(FLOOR_FILE, floors);
        if (START_FILE != "") $readmemh(START_FILE, starts);
        state = IDLE; done = 1'b1; ask = 1'b0; row = 0; spikes = 0; before = 0;
    end

    genvar g;
    generate
        for (g = 0; g < NEURONS; g = g + 1) begin : out
            assign membranes[g*STATE_BITS +: STATE_BITS] = v[g];
        end
    endgenerate

    function signed [WIDE-1:0] saturated(input signed [WIDE-1:0] x);
        saturated = x > HIGH ? HIGH : x < LOW ? LOW : x;
    endfunction

    function signed [WIDE-1:0] rounded(input signed [WIDE-1:0] x, input [5:0] bits, input [1:0] how);
        case (how)
            0: rounded = x >>> bits;
            1: rounded = x < 0 ? -((-x) >>> bits) : x >>> bits;
            default: rounded = bits == 0 ? x : (x + (ONE <<< (bits - 1))) >>> bits;
        endcase
    endfunction

    function signed [WIDE-1:0] leaked(
        input signed [WIDE-1:0] s, input signed [WIDE-1:0] factor, input [1:0] kind, input [5:0] bits, input [1:0] how
    );
        case (kind)
            0: leaked = s;
            1: leaked = s - rounded(s, factor[5:0], how);
            default: leaked = rounded(factor * s, bits, how);
        endcase
    endfunction

    // Every operand is WIDE before anything is computed with it.
    wire signed [WIDE-1:0] old_v = v[row];
    wire signed [WIDE-1:0] old_i = i[row];
    wire signed [WIDE-1:0] factor_v = leak_v[row];
    wire signed [WIDE-1:0] factor_i = leak_i[row];
    wire signed [WIDE-1:0] add = bias[row];
    wire signed [WIDE-1:0] add_i = bias_i[row];
    wire signed [WIDE-1:0] threshold = fire_at[row];
    wire signed [WIDE-1:0] one_less = {{(WIDE-1){1'b0}}, reset_delta[row]};
    wire signed [WIDE-1:0] subtract = threshold - one_less;
    wire signed [WIDE-1:0] value = reset_to[row];
    wire signed [WIDE-1:0] least = floors[row];
    wire late = before[row];

    function signed [WIDE-1:0] after_reset(
        input signed [WIDE-1:0] x, input n, input signed [WIDE-1:0] less, input signed [WIDE-1:0] to
    );
        after_reset = !n || RESET == 0 ? x : RESET == 1 ? x - less : to;
    endfunction

    wire signed [WIDE-1:0] v1 = NEXT_STEP && !AFTER_LEAK ? after_reset(old_v, late, subtract, value) : old_v;
    wire signed [WIDE-1:0] i2 = saturated(leaked(old_i, factor_i, LEAK_I, SHIFT_I, ROUND_I) + sums + add_i);
    wire signed [WIDE-1:0] w3 = leaked(v1, factor_v, LEAK_V, SHIFT_V, ROUND_V);
    wire signed [WIDE-1:0] w3r = NEXT_STEP && AFTER_LEAK ? after_reset(w3, late, subtract, value) : w3;
    wire signed [WIDE-1:0] enters = !CURRENT ? sums : OLD_CURRENT ? old_i : i2;
    wire signed [WIDE-1:0] v4 = saturated(w3r + enters + add);
    wire signed [WIDE-1:0] v4d = DROP_INPUT && late ? value : v4;
    wire signed [WIDE-1:0] v5 = FLOORED && v4d < least ? least : v4d;
    wire n6 = SPIKES && v5 >= threshold;
    wire signed [WIDE-1:0] reset7 = NEXT_STEP ? v5 : after_reset(v5, n6, subtract, value);
    wire signed [WIDE-1:0] v7 = !NEXT_STEP && RESET == 1 ? saturated(reset7) : reset7;

    always @(posedge clk) begin
        ask <= 1'b0;
        if (restart) begin
            state <= CLEAR; done <= 1'b0; row <= 0; spikes <= 0; before <= 0;
        end else case (state)
            IDLE: if (start) begin
                state <= ASK; done <= 1'b0; row <= 0; before <= spikes;
            end
            CLEAR: begin
                v[row] <= starts[row];
                i[row] <= 0;
                row <= row + 1;
                if (row == NEURONS - 1) begin state <= IDLE; done <= 1'b1; end
            end
            ASK: begin ask <= 1'b1; state <= WAIT; end
            WAIT: if (!ask && ready) state <= UPDATE;
            UPDATE: begin
                v[row] <= v7[STATE_BITS-1:0];
                if (CURRENT) i[row] <= i2[STATE_BITS-1:0];
                spikes[row] <= n6;
                row <= row + 1;
                state <= row == NEURONS - 1 ? IDLE : ASK;
                done <= row == NEURONS - 1;
            end
            default: state <= IDLE;
        endcase
    end
endmodule
