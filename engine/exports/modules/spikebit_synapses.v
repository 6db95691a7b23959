// The weights of one connection: the weighted sum of one output, one input value a clock.
//
// Values are unsigned (SIGNED_VALUES 0) or two's complement, value k in bits k*VALUE_BITS and up. The sum of output
// "row" is shifted by its exponent and by the target's fraction bits (docs/program.md, Synaptic sum).
module spikebit_synapses #(
    parameter INPUTS = 1,
    parameter OUTPUTS = 1,
    parameter VALUE_BITS = 1,
    parameter SIGNED_VALUES = 0,
    parameter WEIGHT_BITS = 8,
    parameter EXPONENTS = 1, // 1, or OUTPUTS
    parameter FRACTION_BITS = 0,
    parameter SUM_BITS = 32,
    parameter WIDE = 64,
    parameter WEIGHT_FILE = "",
    parameter EXPONENT_FILE = ""
) (
    input wire clk,
    input wire ask,
    input wire [31:0] row,
    input wire [INPUTS*VALUE_BITS-1:0] values,
    output reg ready,
    output wire signed [WIDE-1:0] sum
);
    reg signed [WEIGHT_BITS-1:0] weights [0:INPUTS*OUTPUTS-1];
    reg [3:0] exponents [0:EXPONENTS-1];
    reg busy;
    initial begin
        $readmemh(WEIGHT_FILE, weights);
        $readmemh(EXPONENT_FILE, exponents);
        ready = 1'b0;
        busy = 1'b0;
    end

    reg [31:0] column;
    reg [31:0] place;
    reg signed [SUM_BITS-1:0] total;
    wire [VALUE_BITS-1:0] plain = values[column*VALUE_BITS +: VALUE_BITS];
    wire signed [VALUE_BITS:0] value = {SIGNED_VALUES ? plain[VALUE_BITS-1] : 1'b0, plain};
    wire signed [WEIGHT_BITS-1:0] weight = weights[place];
    wire signed [WIDE-1:0] wide = total;
    assign sum = wide <<< (exponents[EXPONENTS == 1 ? 0 : row] + FRACTION_BITS);

    always @(posedge clk) begin
        if (ask) begin
            column <= 0;
            place <= row * INPUTS;
            total <= 0;
            busy <= 1'b1;
            ready <= 1'b0;
        end else if (busy) begin
            total <= total + weight * value;
            column <= column + 1;
            place <= place + 1;
            if (column == INPUTS - 1) begin
                busy <= 1'b0;
                ready <= 1'b1;
            end
        end
    end
endmodule
